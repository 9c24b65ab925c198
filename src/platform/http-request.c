/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What libcurl has to know of a request, and what it says of the answer. */
#include <errno.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <strings.h>

#include "base/str.h"
#include "platform/http-internal.h"
#include "platform/ossl.h"

#define CONNECT_TIMEOUT (20 * USEC_PER_SEC)
#define TIMEOUT         USEC_PER_MIN
#define HEAD_MAX        ((size_t)32 * 1024)
#define RETRY_AFTER_MAX (30 * USEC_PER_DAY)

static bool usable;

/* As in platform/mqtt-client-connection.c: SSL_write() raises SIGPIPE where the server is gone. */
static void init_library(void)
{
        signal(SIGPIPE, SIG_IGN);
        usable = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
        const char *tls = usable ? curl_version_info(CURLVERSION_NOW)->ssl_version : NULL;
        usable = tls && startswith(tls, "OpenSSL/");
}

static size_t on_body(char *data, size_t size, size_t n, void *userdata)
{
        Http *h = userdata;
        size_t len = size * n;
        int r = buf_append(&h->body, BYTES(data, len));
        h->too_large = h->too_large || r == -ENOBUFS;
        return r == 0 ? len : 0;
}

static size_t on_head(char *data, size_t size, size_t n, void *userdata)
{
        Http *h = userdata;
        size_t len = size * n;
        h->head += len;
        return h->head <= HEAD_MAX ? len : 0;
}

static void on_info(const SSL *ssl, int where, int value)
{
        Http *h = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
        if (where & SSL_CB_HANDSHAKE_DONE)
                h->handshaken = true;
        if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT &&
            (value & 0xff) != SSL_AD_CLOSE_NOTIFY)
                snprintf(h->alert, sizeof(h->alert), "%s", SSL_alert_desc_string_long(value));
}

/* For each connection, before its handshake. One in mid-connection would sign with the TPM when
 * nobody expects it. */
static CURLcode on_tls(CURL *easy, void *ctx, void *userdata)
{
        Http *h = userdata;
        SSL_CTX_set_app_data((SSL_CTX *)ctx, h);
        SSL_CTX_set_info_callback(ctx, on_info);
        ossl_verify_time(SSL_CTX_get0_param(ctx));
        SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
        SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
        if (h->credential && credential_use_ctx(h->credential, ctx) < 0)
                return CURLE_SSL_CERTPROBLEM;
        return CURLE_OK;
}

static int add_header(Http *h, const char *name, const char *value)
{
        char line[512];
        if (!value)
                return 0;
        size_t len = (size_t)snprintf(line, sizeof(line), "%s: %s", name, value);
        if (len >= sizeof(line) || strpbrk(value, "\r\n"))
                return -EINVAL;
        struct curl_slist *more = curl_slist_append(h->headers, line);
        if (!more)
                return -ENOMEM;
        h->headers = more;
        return 0;
}

static bool set_tls(Http *h, const HttpRequest *r)
{
        CURL *e = h->easy;
        return curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_CAINFO, r->ca) == CURLE_OK &&
               /* Debian's default is all the authorities of the system, besides those of CAINFO. */
               curl_easy_setopt(e, CURLOPT_CAPATH, NULL) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_CA_CACHE_TIMEOUT, 0L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_SSL_CTX_FUNCTION, on_tls) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_SSL_CTX_DATA, h) == CURLE_OK;
}

static bool set_user(Http *h, const char *user)
{
        char name[256];
        const char *colon = user ? strchr(user, ':') : NULL;
        if (!user)
                return true;
        if (!colon || (size_t)(colon - user) >= sizeof(name))
                return false;
        memcpy(name, user, (size_t)(colon - user));
        name[colon - user] = '\0';
        return curl_easy_setopt(h->easy, CURLOPT_HTTPAUTH, CURLAUTH_BASIC) == CURLE_OK &&
               curl_easy_setopt(h->easy, CURLOPT_USERNAME, name) == CURLE_OK &&
               curl_easy_setopt(h->easy, CURLOPT_PASSWORD, colon + 1) == CURLE_OK;
}

static bool set_body(Http *h, const HttpRequest *r)
{
        if (!r->post)
                return curl_easy_setopt(h->easy, CURLOPT_HTTPGET, 1L) == CURLE_OK;
        h->body_out = malloc(MAX(r->body.len, (size_t)1));
        if (!h->body_out)
                return false;
        if (r->body.len > 0)
                memcpy(h->body_out, r->body.data, r->body.len);
        return curl_easy_setopt(h->easy, CURLOPT_POST, 1L) == CURLE_OK &&
               curl_easy_setopt(h->easy, CURLOPT_POSTFIELDS, h->body_out) == CURLE_OK &&
               curl_easy_setopt(h->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len) ==
                       CURLE_OK;
}

static bool set_rest(Http *h, const HttpRequest *r)
{
        CURL *e = h->easy;
        usec_t connect = r->connect_timeout > 0 ? r->connect_timeout : CONNECT_TIMEOUT;
        return curl_easy_setopt(e, CURLOPT_URL, h->url) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_USERAGENT, "sallyport/" SALLYPORT_VERSION) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)(connect / USEC_PER_MSEC)) ==
                       CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_ERRORBUFFER, h->error) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_WRITEDATA, h) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_head) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_HEADERDATA, h) == CURLE_OK &&
               curl_easy_setopt(e, CURLOPT_HTTPHEADER, h->headers) == CURLE_OK;
}

static bool parse_port(CURLU *u, uint16_t *ret)
{
        char *text = NULL;
        uint32_t port;
        bool good = curl_url_get(u, CURLUPART_PORT, &text, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                    parse_u32(text, 1, UINT16_MAX, &port) == 0;
        if (good)
                *ret = (uint16_t)port;
        curl_free(text);
        return good;
}

/* An IPv6 address stands in brackets there. */
static char *bare_host(char *host)
{
        size_t len = strlen(host);
        return host[0] == '[' && len > 2 ? bytes_to_str(BYTES(host + 1, len - 2)) : strdup(host);
}

/* What the URL says, as libcurl reads it. */
static bool split(Http *h, const char *url, bool *ret_tls)
{
        CURLU *u = curl_url();
        char *scheme = NULL, *host = NULL, *user = NULL;
        bool good = u && strlen(url) <= HTTP_URL_MAX &&
                    curl_url_set(u, CURLUPART_URL, url, 0) == CURLUE_OK &&
                    curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                    curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                    curl_url_get(u, CURLUPART_USER, &user, 0) == CURLUE_NO_USER &&
                    parse_port(u, &h->port) && (streq(scheme, "http") || streq(scheme, "https"));
        if (good) {
                *ret_tls = streq(scheme, "https");
                h->url = strdup(url);
                h->host = bare_host(host);
                good = h->url && h->host;
        }
        curl_free(scheme);
        curl_free(host);
        curl_free(user);
        curl_url_cleanup(u);
        return good;
}

static int check(const HttpRequest *r, bool tls, Reason *reason)
{
        if (tls && !r->ca)
                return reason_set(reason, -EINVAL, "%s needs a file with the server's CA", r->url);
        if (!tls && (r->user || r->credential))
                return reason_set(reason, -EINVAL, "%s is not https, so nothing secret goes there",
                                  r->url);
        return 0;
}

int http_describe(Http *h, const HttpRequest *r, Reason *reason)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        bool tls = false;
        pthread_once(&once, init_library);
        if (!usable)
                return reason_set(reason, -ENOTSUP, "This libcurl does not use OpenSSL");
        if (!split(h, r->url, &tls))
                return reason_set(reason, -EINVAL, "\"%.200s\" is no http or https URL", r->url);
        int error = check(r, tls, reason);
        if (error < 0)
                return error;
        h->timeout = r->timeout > 0 ? r->timeout : TIMEOUT;
        h->maximum = r->maximum;
        h->body = BUF_INIT(r->maximum);
        h->credential = credential_ref(r->credential);
        h->ca = r->ca ? strdup(r->ca) : NULL;
        h->easy = curl_easy_init();
        if (!h->easy || (r->ca && !h->ca) || add_header(h, "Accept", r->accept) < 0 ||
            add_header(h, "Content-Type", r->content_type) < 0 ||
            add_header(h, "Content-Transfer-Encoding", r->content_encoding) < 0 ||
            add_header(h, "If-None-Match", r->etag) < 0 ||
            add_header(h, "If-Modified-Since", r->modified) < 0 || !set_rest(h, r) ||
            !set_body(h, r) || !set_user(h, r->user) || (tls && !set_tls(h, r)))
                return reason_set(reason, -EINVAL, "The request to %s cannot be made", r->url);
        return 0;
}

/* What libcurl wrote may hold what the server sent. */
static void explain_other(Http *h)
{
        const char *text = h->error[0] ? h->error : curl_easy_strerror(h->result);
        _cleanup_free_ char *clean = str_escape(bytes_from_str(text), 200);
        reason_set(&h->reason, 0, "%s", clean ? clean : "failed");
}

static void explain_connect(Http *h)
{
        long error = 0;
        curl_easy_getinfo(h->easy, CURLINFO_OS_ERRNO, &error);
        reason_set(&h->reason, 0, "cannot connect to %s port %u: %s", h->host, h->port,
                   error > 0 ? strerror((int)error) : "no connection");
}

/* In TLS 1.3 a server refuses a certificate after the handshake is complete for the client, and its
 * alert may be lost in the reset that follows. */
static bool refused_in_silence(const Http *h)
{
        return h->credential && h->handshaken && h->head == 0 &&
               h->result != CURLE_UNSUPPORTED_PROTOCOL && h->result != CURLE_WEIRD_SERVER_REPLY;
}

void http_explain(Http *h)
{
        if (h->reason.text[0] || h->result == CURLE_OK)
                return;
        if (h->too_large)
                reason_set(&h->reason, 0, "the answer has more than %zu bytes", h->maximum);
        else if (h->head > HEAD_MAX)
                reason_set(&h->reason, 0, "the head of the answer has more than %zu bytes",
                           HEAD_MAX);
        else if (h->alert[0])
                reason_set(&h->reason, 0, "%s refused the TLS connection: %s", h->host, h->alert);
        else if (refused_in_silence(h))
                reason_set(&h->reason, 0,
                           "%s ended the connection after the TLS handshake: it may have refused "
                           "the client's certificate",
                           h->host);
        else if (h->result == CURLE_COULDNT_CONNECT)
                explain_connect(h);
        else if (h->result == CURLE_OPERATION_TIMEDOUT)
                reason_set(&h->reason, 0, "no connection to %s in time", h->host);
        else if (h->result == CURLE_SSL_CACERT_BADFILE)
                reason_set(&h->reason, 0, "cannot load the CA certificates in %s", h->ca);
        else
                explain_other(h);
}

static const char *header_value(Http *h, const char *name)
{
        struct curl_header *header;
        return curl_easy_header(h->easy, name, 0, CURLH_HEADER, -1, &header) == CURLHE_OK
                       ? header->value
                       : "";
}

void http_read_answer(Http *h, HttpAnswer *ret)
{
        long status = 0;
        curl_off_t retry = 0;
        curl_easy_getinfo(h->easy, CURLINFO_RESPONSE_CODE, &status);
        curl_easy_getinfo(h->easy, CURLINFO_RETRY_AFTER, &retry);
        *ret = (HttpAnswer){
                .answered = true,
                .reason = "",
                .status = (unsigned)status,
                .type = header_value(h, "Content-Type"),
                .etag = header_value(h, "ETag"),
                .modified = header_value(h, "Last-Modified"),
                .body = buf_view(&h->body),
        };
        if (retry > 0)
                ret->retry_after =
                        MIN((usec_t)retry, RETRY_AFTER_MAX / USEC_PER_SEC) * USEC_PER_SEC;
}
