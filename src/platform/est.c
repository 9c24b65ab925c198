/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/est.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "platform/est-message.h"
#include "platform/fiber.h"
#include "platform/http.h"
#include "platform/identity-request.h"
#include "platform/ossl.h"

#define BODY_MAX       ((size_t)256 * 1024)
#define ATTRIBUTES_MAX ((size_t)16 * 1024)
#define EXCERPT_MAX    ((size_t)160)
#define RETRY_DEFAULT  USEC_PER_MIN
#define RETRY_MIN      USEC_PER_SEC

typedef enum Step {
        STEP_CACERTS,
        STEP_CSRATTRS,
        STEP_REQUEST, /* the TPM signs it */
        STEP_ENROL,
        STEP_DONE,
} Step;

struct Est {
        Loop *loop;
        Identity *identity;
        EstDone done;
        void *userdata;
        char *server, *label, *ca, *user, *common_name;
        char **names;
        size_t n_names;
        Credential *credential;
        bool renewal;
        usec_t give_up_at, waits_until;

        Step step;
        Http *http;
        LoopSource *next; /* the step that is to begin */
        bool busy;        /* a fiber makes the request */
        bool abandoned;   /* cancelled meanwhile: the fiber cleans up */
        STACK_OF(X509) * authorities;
        EstAttributes attributes;
        char *request; /* base64 */
        char *pem;
        int error;
        Reason reason;
};

static void destroy(Est *e)
{
        free(e->server);
        free(e->label);
        free(e->ca);
        if (e->user)
                OPENSSL_cleanse(e->user, strlen(e->user));
        free(e->user);
        free(e->common_name);
        for (size_t i = 0; i < e->n_names; i++)
                free(e->names[i]);
        free(e->names);
        credential_unref(e->credential);
        sk_X509_pop_free(e->authorities, X509_free);
        est_attributes_done(&e->attributes);
        free(e->request);
        free(e->pem);
        free(e);
}

Est *est_cancel(Est *e)
{
        if (!e)
                return NULL;
        e->http = http_cancel(e->http);
        e->next = loop_source_free(e->next);
        e->abandoned = true;
        if (!e->busy)
                destroy(e);
        return NULL;
}

usec_t est_waits_until(const Est *e)
{
        return e->waits_until;
}

static const char *operation(const Est *e)
{
        return e->step == STEP_CACERTS    ? "cacerts"
               : e->step == STEP_CSRATTRS ? "csrattrs"
               : e->renewal               ? "simplereenroll"
                                          : "simpleenroll";
}

static void go(Est *e, Step step)
{
        e->step = step;
        loop_timer_arm_relative(e->next, 0);
}

static void give_up(Est *e, int error, const char *format, ...) _printf_(3, 4);
static void give_up(Est *e, int error, const char *format, ...)
{
        char text[sizeof(e->reason.text)];
        va_list args;
        va_start(args, format);
        vsnprintf(text, sizeof(text), format, args);
        va_end(args);
        e->error = reason_set(&e->reason, error, "%s", text);
        go(e, STEP_DONE);
}

/* What a server has to say to people is one line at the most. */
static void refused(Est *e, const HttpAnswer *a)
{
        bool text = startswith(a->type, "text/plain");
        size_t len = text ? MIN(a->body.len, EXCERPT_MAX) : 0;
        while (len > 0 && strchr("\r\n ", a->body.data[len - 1]))
                len--;
        _cleanup_free_ char *said = str_escape(BYTES(a->body.data, len), EXCERPT_MAX);
        const char *hint = a->status == 401 && !e->renewal ? " (are name and password right?)"
                           : e->attributes.linking && e->step == STEP_ENROL
                                   ? " (it asks for a challengePassword that links request and "
                                     "connection, which is not supported)"
                                   : "";
        give_up(e, 0, "The EST server answers %s with status %u%s%s%s", operation(e), a->status,
                isempty(said) ? "" : ": ", strempty(said), hint);
}

static void take_authorities(Est *e, const HttpAnswer *a)
{
        Reason why;
        if (a->status != 200)
                refused(e, a);
        else if (est_read_certificates(a->body, &e->authorities, &why))
                go(e, STEP_CSRATTRS);
        else
                give_up(e, 0, "The EST server's answer to cacerts is unusable: %s", why.text);
}

static void take_attributes(Est *e, const HttpAnswer *a)
{
        Reason why;
        if (a->status == 204 || a->status == 404 || (a->status == 200 && a->body.len == 0))
                go(e, STEP_REQUEST);
        else if (a->status != 200)
                refused(e, a);
        else if (!est_read_attributes(a->body, &e->attributes, &why))
                give_up(e, 0, "The EST server's answer to csrattrs is unusable: %s", why.text);
        else if (e->attributes.cannot[0])
                give_up(e, 0, "The CA wants %s", e->attributes.cannot);
        else
                go(e, STEP_REQUEST);
}

static X509 *find_ours(Est *e, STACK_OF(X509) * list)
{
        for (int i = 0; i < sk_X509_num(list); i++) {
                X509 *x = sk_X509_value(list, i);
                if (EVP_PKEY_eq(X509_get0_pubkey(x), identity_pkey(e->identity)) == 1)
                        return x;
        }
        return NULL;
}

static bool write_rest(BIO *bio, STACK_OF(X509) * list, X509 *leaf)
{
        for (int i = 0; i < sk_X509_num(list); i++) {
                X509 *x = sk_X509_value(list, i);
                if (X509_cmp(x, leaf) != 0 && PEM_write_bio_X509(bio, x) != 1)
                        return false;
        }
        return true;
}

static void assemble(Est *e, STACK_OF(X509) * list)
{
        _cleanup_(BIO_freep) BIO *bio = BIO_new(BIO_s_mem());
        char *text = NULL;
        X509 *leaf = find_ours(e, list);
        if (!leaf) {
                give_up(e, 0,
                        "The certificate that the EST server issued is not for the key of "
                        "this identity");
                return;
        }
        if (bio && PEM_write_bio_X509(bio, leaf) == 1 && write_rest(bio, list, leaf) &&
            write_rest(bio, e->authorities, leaf)) {
                long len = BIO_get_mem_data(bio, &text);
                e->pem = strndup(text, (size_t)len);
        }
        if (e->pem)
                go(e, STEP_DONE);
        else
                give_up(e, -ENOMEM, "Out of memory");
}

/* Section 4.2.3: the same request again, later. */
static void wait(Est *e, const HttpAnswer *a)
{
        char span[USEC_FORMAT_MAX];
        usec_t pause = a->retry_after > 0 ? MAX(a->retry_after, RETRY_MIN) : RETRY_DEFAULT;
        usec_t at = usec_add(now_boottime(), pause);
        if (at > e->give_up_at) {
                give_up(e, 0,
                        "The CA has not decided yet: the EST server wants to be asked again "
                        "in %s",
                        usec_format_span(pause, span));
                return;
        }
        e->waits_until = at;
        loop_timer_arm(e->next, at);
}

static void take_certificate(Est *e, const HttpAnswer *a)
{
        Reason why;
        _cleanup_(x509_stack_freep) STACK_OF(X509) *list = NULL;
        if (a->status == 202)
                wait(e, a);
        else if (a->status != 200)
                refused(e, a);
        else if (est_read_certificates(a->body, &list, &why))
                assemble(e, list);
        else
                give_up(e, 0, "The EST server's answer to %s is unusable: %s", operation(e),
                        why.text);
}

static void on_answer(const HttpAnswer *a, void *userdata)
{
        Est *e = userdata;
        e->http = NULL;
        if (!a->answered)
                give_up(e, 0, "The EST server does not answer %s: %s", operation(e), a->reason);
        else if (e->step == STEP_CACERTS)
                take_authorities(e, a);
        else if (e->step == STEP_CSRATTRS)
                take_attributes(e, a);
        else
                take_certificate(e, a);
}

/* Nobody has to be known to ask for the authorities (section 4.1.1): that saves a signature. */
static void ask(Est *e)
{
        char url[HTTP_URL_MAX];
        bool known = e->step != STEP_CACERTS, post = e->step == STEP_ENROL;
        size_t server = strlen(e->server);
        while (server > 0 && e->server[server - 1] == '/')
                server--;
        snprintf(url, sizeof(url), "%.*s/.well-known/est%s%s/%s", (int)server, e->server,
                 e->label ? "/" : "", strempty(e->label), operation(e));
        const HttpRequest q = {
                .url = url,
                .ca = e->ca,
                .credential = known ? e->credential : NULL,
                .user = known ? e->user : NULL,
                .accept = e->step == STEP_CSRATTRS ? "application/csrattrs"
                                                   : "application/pkcs7-mime",
                .post = post,
                .body = post ? bytes_from_str(e->request) : BYTES(NULL, 0),
                .content_type = post ? "application/pkcs10" : NULL,
                /* RFC 8951 does without, servers of RFC 7030 may not. */
                .content_encoding = post ? "base64" : NULL,
                .maximum = e->step == STEP_CSRATTRS ? ATTRIBUTES_MAX : BODY_MAX,
        };
        Reason why;
        e->waits_until = 0;
        int r = http_start(e->loop, &q, on_answer, e, &e->http, &why);
        if (r < 0)
                give_up(e, r, "%s", why.text);
}

static void make_request(void *userdata)
{
        Est *e = userdata;
        _cleanup_free_ uint8_t *der = NULL;
        size_t len = 0;
        const IdentityRequest q = {
                .renewal = e->renewal,
                .common_name = e->common_name,
                .names = (const char *const *)e->names,
                .n_names = e->n_names,
                .extensions = e->attributes.extensions,
                .attest = e->attributes.attestation,
        };
        Reason why;
        int r = identity_request(e->identity, &q, &der, &len, &why);
        e->busy = false;
        if (e->abandoned) {
                destroy(e);
                return;
        }
        if (r == 0) {
                e->request = est_encode(BYTES(der, len));
                r = e->request ? 0 : reason_set(&why, -ENOMEM, "Out of memory");
        }
        if (r < 0)
                give_up(e, r, "%s", why.text);
        else
                go(e, STEP_ENROL);
}

static void finish(Est *e)
{
        const EstResult result = { .pem = e->pem, .reason = e->reason.text, .error = e->error };
        e->done(&result, e->userdata);
        est_cancel(e);
}

static int on_next(void *userdata)
{
        Est *e = userdata;
        switch (e->step) {
        case STEP_CACERTS:
        case STEP_CSRATTRS:
        case STEP_ENROL:
                ask(e);
                break;
        case STEP_REQUEST:
                e->busy = true;
                if (fiber_spawn(make_request, e) < 0) {
                        e->busy = false;
                        give_up(e, -ENOMEM, "Out of memory");
                }
                break;
        case STEP_DONE:
                finish(e);
                break;
        }
        return 0;
}

bool est_label_valid(const char *label)
{
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789.-_~";
        size_t len = strlen(label);
        return len > 0 && len <= 64 && strspn(label, allowed) == len && !streq(label, ".") &&
               !streq(label, "..");
}

bool est_server_valid(const char *server)
{
        const char *host = startswith(server, "https://");
        size_t len = host ? strcspn(host, "/@?#\\ \t\r\n") : 0;
        return len > 0 && strlen(server) <= 512 && (!host[len] || streq(host + len, "/"));
}

static int copy(const char *from, char **to)
{
        *to = from ? strdup(from) : NULL;
        return from && !*to ? -ENOMEM : 0;
}

static int copy_params(Est *e, const EstParams *p)
{
        e->loop = p->loop;
        e->identity = p->identity;
        e->credential = credential_ref(p->credential);
        e->renewal = p->renewal;
        e->give_up_at = usec_add(now_boottime(), p->patience);
        e->names = calloc(p->n_names + 1, sizeof(*e->names));
        if (!e->names || copy(p->server, &e->server) < 0 || copy(p->label, &e->label) < 0 ||
            copy(p->ca, &e->ca) < 0 || copy(p->user, &e->user) < 0 ||
            copy(p->common_name, &e->common_name) < 0)
                return -ENOMEM;
        for (; e->n_names < p->n_names; e->n_names++)
                if (copy(p->names[e->n_names], &e->names[e->n_names]) < 0)
                        return -ENOMEM;
        return 0;
}

int est_start(const EstParams *p, EstDone done, void *userdata, Est **ret, Reason *reason)
{
        if (!est_server_valid(p->server))
                return reason_set(reason, -EINVAL,
                                  "\"%.200s\" is not https://HOST or "
                                  "https://HOST:PORT",
                                  p->server);
        if (p->label && !est_label_valid(p->label))
                return reason_set(reason, -EINVAL, "\"%.100s\" cannot be the label of a CA",
                                  p->label);
        Est *e = calloc(1, sizeof(*e));
        if (!e)
                return reason_set(reason, -ENOMEM, "Out of memory");
        e->done = done;
        e->userdata = userdata;
        int r = copy_params(e, p);
        if (r == 0)
                r = loop_add_timer(e->loop, &e->next, LOOP_PEER, on_next, e);
        if (r < 0) {
                est_cancel(e);
                return reason_set(reason, r, "Cannot begin an enrolment: %s", strerror(-r));
        }
        go(e, STEP_CACERTS);
        *ret = e;
        return 0;
}
