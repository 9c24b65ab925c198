/* SPDX-License-Identifier: GPL-3.0-or-later */
/* handshake-floor [OPTION]... SERVER.pem SERVER.key
 *
 * What a mutual TLS 1.3 handshake costs a server in this OpenSSL alone: memory in place of sockets,
 * no MQTT, nothing of ours. The same protocol, groups, certificates and tickets as sallyportd's,
 * and the same checks of the peer's chain; no server that uses this library is faster. One JSON
 * object: microseconds of CPU of the server's side for a full and for a resumed handshake.
 *
 *   --issuer FILE   certificate and key of the authority of devices, FILE.pem and FILE.key
 *   --trust FILE    authority of the server
 *   --host NAME     what its certificate must hold
 *   --rounds N      of each (1000)
 *   --at-once N     so many are under way (32)
 *   --tickets N     that the server gives (1)
 *   --stateless     the session is in the ticket, not in the server's cache */

#include <err.h>
#include <getopt.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "options.h"

#define BIO_SIZE    ((size_t)64 * 1024)
#define AT_ONCE_MAX 256
#define STEPS       10 /* more than a handshake has */

typedef struct Floor {
        LoadParams load;
        SSL_CTX *server, *client;
        SSL_SESSION *session; /* the client's last */
        X509 *certificate;
        EVP_PKEY *key;
        unsigned rounds, tickets, at_once;
        bool stateless;
        uint64_t server_nsec;
        unsigned resumed;
} Floor;

typedef struct Pair {
        SSL *server, *client;
        bool server_done, client_done;
} Pair;

static uint64_t cpu_now(void)
{
        struct timespec t;
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
        Floor *f = SSL_get_app_data(ssl);
        SSL_SESSION_free(f->session);
        f->session = session;
        return 1;
}

static void open_server(Floor *f, const char *certificate, const char *key)
{
        SSL_CTX *c = f->server = SSL_CTX_new(TLS_server_method());
        X509_STORE_add_cert(SSL_CTX_get_cert_store(c), f->load.issuer);
        SSL_CTX_set_min_proto_version(c, TLS1_3_VERSION);
        SSL_CTX_add_client_CA(c, f->load.issuer);
        SSL_CTX_set_verify(c, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
        SSL_CTX_set_session_id_context(c, (const unsigned char *)"floor", 5);
        SSL_CTX_set_num_tickets(c, f->tickets);
        if (f->stateless) {
                SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_OFF);
        } else {
                SSL_CTX_set_options(c, SSL_OP_NO_TICKET);
                SSL_CTX_set_session_cache_mode(c, SSL_SESS_CACHE_SERVER);
        }
        if (SSL_CTX_use_certificate_chain_file(c, certificate) != 1 ||
            SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM) != 1)
                errx(2, "cannot use %s and %s", certificate, key);
}

static void open_client(Floor *f)
{
        f->client = load_context(&f->load);
        f->certificate = load_certify(&f->load, 0, &f->key);
        SSL_CTX_use_certificate(f->client, f->certificate);
        SSL_CTX_use_PrivateKey(f->client, f->key);
        SSL_CTX_set_session_cache_mode(f->client,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(f->client, on_session);
}

static void begin(Floor *f, Pair *p, bool resume)
{
        BIO *s, *c;
        if (BIO_new_bio_pair(&s, BIO_SIZE, &c, BIO_SIZE) != 1)
                errx(2, "no memory");
        *p = (Pair){ .client = SSL_new(f->client) };
        SSL_set_app_data(p->client, f);
        SSL_set_bio(p->client, c, c);
        SSL_set_connect_state(p->client);
        if (resume && f->session)
                SSL_set_session(p->client, f->session);
        uint64_t t = cpu_now();
        p->server = SSL_new(f->server);
        SSL_set_bio(p->server, s, s);
        SSL_set_accept_state(p->server);
        f->server_nsec += cpu_now() - t;
}

static void step(Floor *f, Pair *p)
{
        p->client_done = SSL_do_handshake(p->client) == 1;
        uint64_t t = cpu_now();
        p->server_done = SSL_do_handshake(p->server) == 1;
        f->server_nsec += cpu_now() - t;
}

/* The client takes in the tickets; then both leave as if they had said goodbye. */
static void part(Floor *f, Pair *p)
{
        char ignored;
        if (!p->server_done || !p->client_done)
                errx(2, "no handshake: %s", ERR_reason_error_string(ERR_peek_error()));
        f->resumed += SSL_session_reused(p->server) == 1;
        SSL_read(p->client, &ignored, 1);
        SSL_shutdown(p->client);
        SSL_free(p->client);
        uint64_t t = cpu_now();
        SSL_set_shutdown(p->server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(p->server);
        f->server_nsec += cpu_now() - t;
        ERR_clear_error();
}

/* A server has several under way, and finds less of each in the processor's caches. */
static void some(Floor *f, unsigned n, bool resume)
{
        Pair pairs[AT_ONCE_MAX];
        for (unsigned i = 0; i < n; i++)
                begin(f, &pairs[i], resume);
        for (unsigned round = 0; round < STEPS; round++)
                for (unsigned i = 0; i < n; i++)
                        if (!pairs[i].server_done || !pairs[i].client_done)
                                step(f, &pairs[i]);
        for (unsigned i = 0; i < n; i++)
                part(f, &pairs[i]);
}

/* Microseconds for one, of the server. */
static double measure(Floor *f, bool resume)
{
        some(f, 1, resume);
        some(f, f->at_once, resume);
        f->server_nsec = 0;
        f->resumed = 0;
        for (unsigned left = f->rounds, n; left > 0; left -= n) {
                n = MIN(left, f->at_once);
                some(f, n, resume);
        }
        if (f->resumed != (resume ? f->rounds : 0))
                errx(2, "%u of %u were resumed", f->resumed, f->rounds);
        return (double)f->server_nsec / 1000 / f->rounds;
}

static void usage(void)
{
        fprintf(stderr, "usage: handshake-floor --issuer FILE --trust FILE --host NAME [OPTION]... "
                        "SERVER.pem SERVER.key (the options: handshake-floor.c)\n");
        exit(2);
}

static void take_option(Floor *f, int option)
{
        switch (option) {
        case 'i':
                option_pair(optarg, &f->load.issuer, &f->load.issuer_key);
                break;
        case 't':
                f->load.trust_file = optarg;
                break;
        case 'h':
                f->load.host = optarg;
                break;
        case 'r':
                f->rounds = option_number(optarg, 1, 100000);
                break;
        case 'a':
                f->at_once = option_number(optarg, 1, AT_ONCE_MAX);
                break;
        case 'k':
                f->tickets = option_number(optarg, 1, 8);
                break;
        case 's':
                f->stateless = true;
                break;
        default:
                usage();
        }
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "issuer", required_argument, NULL, 'i' },
                { "trust", required_argument, NULL, 't' },
                { "host", required_argument, NULL, 'h' },
                { "rounds", required_argument, NULL, 'r' },
                { "at-once", required_argument, NULL, 'a' },
                { "tickets", required_argument, NULL, 'k' },
                { "stateless", no_argument, NULL, 's' },
                { 0 },
        };
        Floor f = { .load = { .name = "bench", .version = TLS1_3_VERSION },
                    .rounds = 1000,
                    .at_once = 32,
                    .tickets = 1 };
        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;)
                take_option(&f, c);
        if (argc - optind != 2 || !f.load.issuer || !f.load.trust_file || !f.load.host)
                usage();
        open_server(&f, argv[optind], argv[optind + 1]);
        open_client(&f);
        double full = measure(&f, false), resumed = measure(&f, true);
        printf("{\"openssl\": \"%s\", \"rounds\": %u, \"at_once\": %u, \"tickets\": %u, "
               "\"stateless\": %s, "
               "\"full_us\": %.1f, \"resumed_us\": %.1f, \"full_per_cpu_second\": %.0f, "
               "\"resumed_per_cpu_second\": %.0f}\n",
               OpenSSL_version(OPENSSL_VERSION_STRING), f.rounds, f.at_once, f.tickets,
               f.stateless ? "true" : "false", full, resumed, 1e6 / full, 1e6 / resumed);
        SSL_SESSION_free(f.session);
        X509_free(f.certificate);
        EVP_PKEY_free(f.key);
        SSL_CTX_free(f.server);
        SSL_CTX_free(f.client);
        X509_free(f.load.issuer);
        EVP_PKEY_free(f.load.issuer_key);
        return 0;
}
