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
 *   --tickets N     that the server gives (1)
 *   --stateless     the session is in the ticket, not in the server's cache */

#include <err.h>
#include <getopt.h>
#include <openssl/err.h>
#include <openssl/ssl.h>

#include "options.h"

#define WARM_UP  20
#define BIO_SIZE ((size_t)64 * 1024)

typedef struct Floor {
        LoadParams load;
        SSL_CTX *server, *client;
        SSL_SESSION *session; /* the client's last */
        X509 *certificate;
        EVP_PKEY *key;
        unsigned rounds, tickets;
        bool stateless;
        uint64_t server_nsec, client_nsec;
        unsigned resumed;
} Floor;

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

static void shake_hands(Floor *f, SSL *server, SSL *client)
{
        bool server_done = false, client_done = false;
        for (unsigned i = 0; i < 10 && !(server_done && client_done); i++) {
                uint64_t t0 = cpu_now();
                client_done = SSL_do_handshake(client) == 1;
                uint64_t t1 = cpu_now();
                server_done = SSL_do_handshake(server) == 1;
                f->client_nsec += t1 - t0;
                f->server_nsec += cpu_now() - t1;
        }
        if (!server_done || !client_done)
                errx(2, "no handshake: %s", ERR_reason_error_string(ERR_peek_error()));
}

/* The client takes in the tickets; then both leave as if they had said goodbye. */
static void part(Floor *f, SSL *server, SSL *client)
{
        char ignored;
        SSL_read(client, &ignored, 1);
        SSL_shutdown(client);
        SSL_free(client);
        uint64_t t = cpu_now();
        SSL_set_shutdown(server, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_free(server);
        f->server_nsec += cpu_now() - t;
        ERR_clear_error();
}

static void one(Floor *f, bool resume)
{
        BIO *s, *c;
        if (BIO_new_bio_pair(&s, BIO_SIZE, &c, BIO_SIZE) != 1)
                errx(2, "no memory");
        SSL *client = SSL_new(f->client);
        SSL_set_app_data(client, f);
        SSL_set_bio(client, c, c);
        SSL_set_connect_state(client);
        if (resume && f->session)
                SSL_set_session(client, f->session);
        uint64_t t = cpu_now();
        SSL *server = SSL_new(f->server);
        SSL_set_bio(server, s, s);
        SSL_set_accept_state(server);
        f->server_nsec += cpu_now() - t;
        shake_hands(f, server, client);
        f->resumed += SSL_session_reused(server) == 1;
        part(f, server, client);
}

/* Microseconds for one, of the server. */
static double measure(Floor *f, bool resume)
{
        for (unsigned i = 0; i < WARM_UP; i++)
                one(f, resume);
        f->server_nsec = f->client_nsec = 0;
        f->resumed = 0;
        for (unsigned i = 0; i < f->rounds; i++)
                one(f, resume);
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
                { "tickets", required_argument, NULL, 'k' },
                { "stateless", no_argument, NULL, 's' },
                { 0 },
        };
        Floor f = { .load = { .name = "bench", .version = TLS1_3_VERSION },
                    .rounds = 1000,
                    .tickets = 1 };
        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;)
                take_option(&f, c);
        if (argc - optind != 2 || !f.load.issuer || !f.load.trust_file || !f.load.host)
                usage();
        open_server(&f, argv[optind], argv[optind + 1]);
        open_client(&f);
        double full = measure(&f, false), resumed = measure(&f, true);
        printf("{\"openssl\": \"%s\", \"rounds\": %u, \"tickets\": %u, \"stateless\": %s, "
               "\"full_us\": %.1f, \"resumed_us\": %.1f, \"full_per_cpu_second\": %.0f, "
               "\"resumed_per_cpu_second\": %.0f}\n",
               OpenSSL_version(OPENSSL_VERSION_STRING), f.rounds, f.tickets,
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
