/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "load.h"

#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <glob.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <sys/epoll.h>

#define EVENTS_TURN    64
#define SAMPLES_MAX    200000
#define CERTIFICATES   64
#define PRIMING_AT_ONE 8 /* sessions are gathered so many at a time */

typedef enum Stage {
        STAGE_IDLE,
        STAGE_TCP,
        STAGE_TLS,
        STAGE_CONNACK,
        STAGE_IN,
        STAGE_DONE,
} Stage;

typedef struct Client {
        Stage stage;
        int fd;
        SSL *ssl;
        SSL_SESSION *session;
        X509 *certificate;
        EVP_PKEY *key;
        usec_t began;    /* first attempt */
        usec_t again_at; /* idle: when it comes again; USEC_INFINITY: never */
        uint8_t answer[4];
        size_t have;
        unsigned number;
} Client;

typedef struct Load {
        const LoadParams *p;
        LoadResult *result;
        SSL_CTX *ctx;
        Client *clients;
        int epoll;
        unsigned pending; /* clients that are not in yet, or will come again */
        usec_t *samples;
        size_t n_samples;
        unsigned long seen[CERTIFICATES];
        bool priming;
} Load;

static const char *const stage_names[] = {
        [STAGE_IDLE] = "waiting",    [STAGE_TCP] = "TCP connect", [STAGE_TLS] = "TLS handshake",
        [STAGE_CONNACK] = "CONNACK", [STAGE_IN] = "in",           [STAGE_DONE] = "done",
};

/* --- keys and TLS ---------------------------------------------------------------------------- */

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
        X509V3_CTX ctx;
        X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        if (!e || X509_add_ext(x, e, -1) != 1)
                errx(2, "cannot add an extension");
        X509_EXTENSION_free(e);
}

/* As the lab's pki makes a device's. */
X509 *load_certify(const LoadParams *p, unsigned number, EVP_PKEY **ret_key)
{
        char name[64], dns[80];
        snprintf(name, sizeof(name), "%s%u", p->name, number);
        snprintf(dns, sizeof(dns), "DNS:%s", name);
        X509 *x = X509_new();
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509_set_version(x, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(x), 1000 + (long)number);
        X509_gmtime_adj(X509_getm_notBefore(x), -3600);
        X509_gmtime_adj(X509_getm_notAfter(x), 86400);
        X509_set_pubkey(x, key);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                   (const uint8_t *)name, -1, -1, 0);
        X509_set_issuer_name(x, X509_get_subject_name(p->issuer));
        extend(x, p->issuer, NID_basic_constraints, "critical,CA:FALSE");
        extend(x, p->issuer, NID_key_usage, "critical,digitalSignature");
        extend(x, p->issuer, NID_ext_key_usage, "clientAuth");
        extend(x, p->issuer, NID_subject_alt_name, dns);
        if (X509_sign(x, p->issuer_key, EVP_sha256()) <= 0)
                errx(2, "cannot sign a client's certificate");
        *ret_key = key;
        return x;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
        Client *c = SSL_get_app_data(ssl);
        SSL_SESSION_free(c->session);
        c->session = session;
        return 1; /* it is ours now */
}

SSL_CTX *load_context(const LoadParams *p)
{
        SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_min_proto_version(ctx, p->version);
        SSL_CTX_set_max_proto_version(ctx, p->version);
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
        if (SSL_CTX_load_verify_file(ctx, p->trust_file) != 1)
                errx(2, "cannot load %s", p->trust_file);
        X509_VERIFY_PARAM *v = SSL_CTX_get0_param(ctx);
        if (X509_VERIFY_PARAM_set1_ip_asc(v, p->host) != 1 &&
            X509_VERIFY_PARAM_set1_host(v, p->host, 0) != 1)
                errx(2, "%s is no name", p->host);
        return ctx;
}

static void set_up_tls(Load *l)
{
        l->ctx = load_context(l->p);
        if (!l->p->resume)
                return;
        SSL_CTX_set_session_cache_mode(l->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(l->ctx, on_session);
}

/* --- one client ------------------------------------------------------------------------------ */

static void watch(Load *l, Client *c, uint32_t events, int operation)
{
        struct epoll_event e = { .events = events, .data.ptr = c };
        if (epoll_ctl(l->epoll, operation, c->fd, &e) < 0)
                err(2, "epoll_ctl");
}

static void hang_up(Client *c)
{
        SSL_free(c->ssl);
        c->ssl = NULL;
        if (c->fd >= 0)
                close(c->fd);
        c->fd = -1;
        c->have = 0;
}

static void count_reason(LoadResult *r, const char *text)
{
        size_t i = 0;
        while (i < r->n_reasons && strcmp(r->reasons[i].text, text) != 0)
                i++;
        if (i == LOAD_REASONS_MAX)
                i--; /* the last stands for the rest */
        if (i == r->n_reasons)
                snprintf(r->reasons[r->n_reasons++].text, sizeof(r->reasons[i].text), "%s", text);
        r->reasons[i].n++;
}

static void fail(Load *l, Client *c, const char *why)
{
        char text[96];
        snprintf(text, sizeof(text), "%s: %s", stage_names[c->stage], why);
        count_reason(l->result, text);
        l->result->failed++;
        hang_up(c);
        bool again = l->p->retry > 0 || l->p->repeat > 0;
        usec_t pause = l->p->retry > 0 ? l->p->retry : 10 * USEC_PER_MSEC;
        c->stage = again ? STAGE_IDLE : STAGE_DONE;
        c->again_at = again ? now_boottime() + pause : USEC_INFINITY;
        l->pending -= !again;
}

static void fail_tls(Load *l, Client *c)
{
        unsigned long e = ERR_peek_error();
        const char *text = ERR_reason_error_string(e);
        fail(l, c, text ? text : "connection closed");
        ERR_clear_error();
}

int load_connect(const LoadParams *p, unsigned number)
{
        const int one = 1;
        int fd = socket(p->to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                err(2, "socket");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        struct sockaddr_in source = { .sin_family = AF_INET,
                                      .sin_addr.s_addr = htonl(p->source + number) };
        if (p->source) {
                setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
                if (bind(fd, (struct sockaddr *)&source, sizeof(source)) < 0)
                        err(2, "bind");
        }
        if (connect(fd, (const struct sockaddr *)&p->to, p->to_len) == 0 || errno == EINPROGRESS)
                return fd;
        int error = errno;
        close(fd);
        return -error;
}

static void start(Load *l, Client *c)
{
        usec_t now = now_boottime();
        c->began = c->began ? c->began : now;
        c->again_at = USEC_INFINITY;
        c->stage = STAGE_TCP;
        l->result->attempts++;
        c->fd = load_connect(l->p, c->number);
        if (c->fd < 0)
                fail(l, c, strerror(-c->fd));
        else
                watch(l, c, EPOLLOUT, EPOLL_CTL_ADD);
}

static void begin_tls(Load *l, Client *c)
{
        int error = 0;
        socklen_t size = sizeof(error);
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0) {
                fail(l, c, strerror(error));
                return;
        }
        c->stage = STAGE_TLS;
        c->ssl = SSL_new(l->ctx);
        if (!c->ssl || SSL_set_fd(c->ssl, c->fd) != 1 ||
            SSL_use_certificate(c->ssl, c->certificate) != 1 ||
            SSL_use_PrivateKey(c->ssl, c->key) != 1)
                errx(2, "cannot set up TLS");
        SSL_set_app_data(c->ssl, c);
        SSL_set_connect_state(c->ssl);
        if (c->session && !l->priming)
                SSL_set_session(c->ssl, c->session);
}

static void count_certificate(Load *l, const Client *c)
{
        X509 *x = SSL_get0_peer_certificate(c->ssl);
        if (!x)
                return;
        unsigned char md[32];
        unsigned long id = 0;
        if (X509_digest(x, EVP_sha256(), md, NULL) == 1)
                memcpy(&id, md, sizeof(id));
        for (unsigned i = 0; i < l->result->certificates; i++)
                if (l->seen[i] == id)
                        return;
        if (l->result->certificates < CERTIFICATES)
                l->seen[l->result->certificates++] = id;
}

static void send_all(Load *l, Client *c, const void *data, size_t len)
{
        if (SSL_write(c->ssl, data, (int)len) != (int)len)
                fail_tls(l, c);
}

static void send_connect(Load *l, Client *c)
{
        char id[64];
        uint8_t packet[128] = { 0x10, 0, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 60 };
        snprintf(id, sizeof(id), "%s%u", l->p->name, c->number);
        size_t len = strlen(id);
        packet[1] = (uint8_t)(12 + len);
        packet[13] = (uint8_t)len;
        memcpy(packet + 14, id, len);
        c->stage = STAGE_CONNACK;
        send_all(l, c, packet, 14 + len);
}

static void let_in(Load *l, Client *c)
{
        LoadResult *r = l->result;
        usec_t took = now_boottime() - c->began;
        r->in++;
        r->resumed += SSL_session_reused(c->ssl) == 1;
        if (l->n_samples < SAMPLES_MAX)
                l->samples[l->n_samples++] = took;
        count_certificate(l, c);
        c->stage = STAGE_IN;
        c->began = 0;
        l->pending--;
}

static void goodbye(Client *c)
{
        static const uint8_t disconnect[] = { 0xe0, 0 };
        SSL_write(c->ssl, disconnect, sizeof(disconnect));
        SSL_shutdown(c->ssl);
        ERR_clear_error();
        hang_up(c);
}

static bool wants_more(Load *l, Client *c, int result)
{
        switch (SSL_get_error(c->ssl, result)) {
        case SSL_ERROR_WANT_READ:
                watch(l, c, EPOLLIN, EPOLL_CTL_MOD);
                return true;
        case SSL_ERROR_WANT_WRITE:
                watch(l, c, EPOLLOUT, EPOLL_CTL_MOD);
                return true;
        default:
                return false;
        }
}

static void shake_hands(Load *l, Client *c)
{
        ERR_clear_error();
        int r = SSL_do_handshake(c->ssl);
        if (r != 1) {
                if (!wants_more(l, c, r))
                        fail_tls(l, c);
                return;
        }
        watch(l, c, EPOLLIN, EPOLL_CTL_MOD);
        if (l->p->tls_only)
                let_in(l, c);
        else
                send_connect(l, c);
}

static void read_connack(Load *l, Client *c)
{
        char text[32];
        while (c->have < sizeof(c->answer)) {
                ERR_clear_error();
                int r = SSL_read(c->ssl, c->answer + c->have, (int)(sizeof(c->answer) - c->have));
                if (r <= 0) {
                        if (!wants_more(l, c, r))
                                fail_tls(l, c);
                        return;
                }
                c->have += (size_t)r;
        }
        if (c->answer[0] == 0x20 && c->answer[3] == 0) {
                let_in(l, c);
                return;
        }
        snprintf(text, sizeof(text), "refused with %u", c->answer[3]);
        fail(l, c, text);
}

/* Held: whatever comes (session tickets) is taken; the end is a failure. */
static void read_in(Load *l, Client *c)
{
        uint8_t ignored[512];
        ERR_clear_error();
        int r = SSL_read(c->ssl, ignored, sizeof(ignored));
        if (r > 0 || wants_more(l, c, r))
                return;
        l->pending++; /* it was in */
        fail_tls(l, c);
}

static void on_event(Load *l, Client *c)
{
        if (c->stage == STAGE_TCP)
                begin_tls(l, c);
        if (c->stage == STAGE_TLS)
                shake_hands(l, c);
        if (c->stage == STAGE_CONNACK)
                read_connack(l, c);
        else if (c->stage == STAGE_IN)
                read_in(l, c);
}

/* --- all of them ----------------------------------------------------------------------------- */

/* Those whose time has come; the next such time is returned. */
static usec_t start_due(Load *l)
{
        usec_t next = USEC_INFINITY, now = now_boottime();
        for (unsigned i = 0; i < l->p->clients; i++) {
                Client *c = &l->clients[i];
                if (c->stage == STAGE_IDLE && c->again_at <= now)
                        start(l, c);
                if (c->stage == STAGE_IDLE)
                        next = MIN(next, c->again_at);
        }
        return next;
}

static void turn(Load *l, usec_t until)
{
        struct epoll_event events[EVENTS_TURN];
        usec_t now = now_boottime(), left = until > now ? until - now : 0;
        int ms = (int)(MIN(left, USEC_PER_SEC) / USEC_PER_MSEC) + (left > 0);
        int n = epoll_wait(l->epoll, events, EVENTS_TURN, ms);
        for (int i = 0; i < n; i++)
                on_event(l, events[i].data.ptr);
}

static void drive(Load *l, usec_t deadline)
{
        while (l->pending > 0 && now_boottime() < deadline)
                turn(l, MIN(start_due(l), deadline));
}

/* Whoever is in leaves at once, and comes again until the time is over. */
static void drive_again(Load *l, usec_t until, usec_t deadline)
{
        for (bool over = false; (!over || l->pending > 0) && now_boottime() < deadline;) {
                over = now_boottime() >= until;
                for (unsigned i = 0; i < l->p->clients; i++) {
                        Client *c = &l->clients[i];
                        if (c->stage == STAGE_IN) {
                                goodbye(c);
                                c->stage = over ? STAGE_DONE : STAGE_IDLE;
                                c->again_at = 0;
                                l->pending += !over;
                        } else if (c->stage == STAGE_IDLE && over) {
                                c->stage = STAGE_DONE;
                                l->pending--;
                        }
                }
                turn(l, MIN(start_due(l), MIN(deadline, now_boottime() + 20 * USEC_PER_MSEC)));
        }
}

static void stay(Load *l, usec_t span)
{
        usec_t until = now_boottime() + span;
        while (now_boottime() < until && !(l->p->over && *l->p->over))
                turn(l, until);
}

static void leave(Load *l)
{
        for (unsigned i = 0; i < l->p->clients; i++) {
                Client *c = &l->clients[i];
                if (c->stage == STAGE_IN)
                        goodbye(c);
                else if (c->stage != STAGE_DONE)
                        fail(l, c, "not within the time");
                hang_up(c);
                c->stage = STAGE_IDLE;
                c->began = c->again_at = 0;
        }
        l->pending = l->p->clients;
}

/* A session for each, a few clients at a time. */
static void prime(Load *l, usec_t deadline)
{
        LoadResult ignored = { 0 }, *result = l->result;
        l->result = &ignored;
        l->priming = true;
        for (unsigned i = 0; i < l->p->clients; i += PRIMING_AT_ONE) {
                unsigned end = MIN(i + PRIMING_AT_ONE, l->p->clients);
                l->pending = end - i;
                for (unsigned k = i; k < end; k++)
                        start(l, &l->clients[k]);
                while (l->pending > 0 && now_boottime() < deadline)
                        turn(l, deadline);
        }
        stay(l, 200 * USEC_PER_MSEC); /* tickets come after the handshake */
        leave(l);
        l->result = result;
        l->priming = false;
        l->n_samples = 0;
}

static int compare(const void *a, const void *b)
{
        usec_t x = *(const usec_t *)a, y = *(const usec_t *)b;
        return x < y ? -1 : x > y;
}

static void summarize(Load *l)
{
        LoadResult *r = l->result;
        size_t n = l->n_samples;
        if (n == 0)
                return;
        qsort(l->samples, n, sizeof(*l->samples), compare);
        r->min = l->samples[0];
        r->median = l->samples[n / 2];
        r->p99 = l->samples[MIN(n - 1, n * 99 / 100)];
        r->max = l->samples[n - 1];
}

static void prepare(Load *l)
{
        l->epoll = epoll_create1(EPOLL_CLOEXEC);
        l->clients = calloc(l->p->clients, sizeof(*l->clients));
        l->samples = calloc(SAMPLES_MAX, sizeof(*l->samples));
        if (l->epoll < 0 || !l->clients || !l->samples)
                err(2, "cannot begin");
        set_up_tls(l);
        for (unsigned i = 0; i < l->p->clients; i++) {
                l->clients[i].number = i;
                l->clients[i].fd = -1;
                l->clients[i].certificate = load_certify(l->p, i, &l->clients[i].key);
        }
        l->pending = l->p->clients;
}

static void finish(Load *l)
{
        for (unsigned i = 0; i < l->p->clients; i++) {
                SSL_SESSION_free(l->clients[i].session);
                X509_free(l->clients[i].certificate);
                EVP_PKEY_free(l->clients[i].key);
        }
        SSL_CTX_free(l->ctx);
        free(l->clients);
        free(l->samples);
        close(l->epoll);
}

usec_t load_cpu(pid_t pid)
{
        char pattern[64];
        glob_t threads;
        unsigned long long nsec, sum = 0;
        snprintf(pattern, sizeof(pattern), "/proc/%d/task/*/schedstat", (int)pid);
        if (pid == 0 || glob(pattern, 0, NULL, &threads) != 0)
                return 0;
        for (size_t i = 0; i < threads.gl_pathc; i++) {
                FILE *f = fopen(threads.gl_pathv[i], "re");
                if (!f)
                        continue;
                if (fscanf(f, "%llu", &nsec) == 1)
                        sum += nsec;
                fclose(f);
        }
        globfree(&threads);
        return sum / 1000;
}

void load_run(const LoadParams *p, LoadResult *ret)
{
        Load l = { .p = p, .result = ret };
        *ret = (LoadResult){ .clients = p->clients };
        prepare(&l);
        usec_t deadline = now_boottime() + p->timeout;
        if (p->resume)
                prime(&l, deadline);
        usec_t began = now_boottime(), cpu = load_cpu(p->watch), own = load_cpu(getpid());
        if (p->repeat > 0)
                drive_again(&l, began + p->repeat, deadline);
        else
                drive(&l, deadline);
        ret->wall = now_boottime() - began;
        ret->cpu = load_cpu(p->watch) - cpu;
        ret->own_cpu = load_cpu(getpid()) - own;
        if (p->held)
                p->held();
        if (p->hold > 0)
                stay(&l, p->hold);
        leave(&l);
        summarize(&l);
        finish(&l);
}

static double ms(usec_t t)
{
        return (double)t / (double)USEC_PER_MSEC;
}

void load_print(const LoadResult *r, FILE *f)
{
        fprintf(f,
                "{\"clients\": %u, \"in\": %u, \"attempts\": %u, \"failed\": %u, \"resumed\": %u, "
                "\"certificates\": %u, \"server_cpu_ms\": %.1f, \"wall_ms\": %.1f, \"min_ms\": "
                "%.1f, \"median_ms\": %.1f, "
                "\"p99_ms\": %.1f, \"max_ms\": %.1f, \"reasons\": {",
                r->clients, r->in, r->attempts, r->failed, r->resumed, r->certificates, ms(r->cpu),
                ms(r->wall), ms(r->min), ms(r->median), ms(r->p99), ms(r->max));
        for (size_t i = 0; i < r->n_reasons; i++)
                fprintf(f, "%s\"%s\": %u", i ? ", " : "", r->reasons[i].text, r->reasons[i].n);
        fprintf(f, "}}");
}
