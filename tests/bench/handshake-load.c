/* SPDX-License-Identifier: GPL-3.0-or-later */
/* handshake-load [OPTION]... ADDRESS:PORT
 *
 * N devices that connect at once, each with a certificate of its own: how long until all are in.
 * One JSON object on the standard output; 0 when all got in, 1 when not, 2 for what is wrong here.
 *
 *   --clients N        (200)
 *   --name NAME        they are NAME0, NAME1, ... (bench)
 *   --issuer FILE      certificate and key of the authority of devices, FILE.pem and FILE.key
 *   --trust FILE       authority of the server
 *   --host NAME        what its certificate must hold (default: ADDRESS)
 *   --source ADDRESS   the first client's own IPv4 address; the next has the next
 *   --tls 1.2|1.3      (1.3)
 *   --resume           each resumes a session that it got before the clock starts
 *   --tls-only         without MQTT
 *   --hold SECONDS     all stay connected for so long
 *   --retry MS         whoever fails comes again after this time
 *   --repeat SECONDS   each connects again and again for so long
 *   --timeout SECONDS  for all of it (60) */

#include "load.h"

#include <arpa/inet.h>
#include <err.h>
#include <getopt.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <signal.h>
#include <string.h>

#include "base/str.h"

typedef struct Arguments {
        LoadParams load;
        char address[64];
} Arguments;

static void usage(void)
{
        fprintf(stderr, "usage: handshake-load --issuer FILE --trust FILE [OPTION]... "
                        "ADDRESS:PORT (the options: handshake-load.c)\n");
        exit(2);
}

static uint32_t number(const char *s, uint32_t min, uint32_t max)
{
        uint32_t n;
        if (parse_u32(s, min, max, &n) < 0)
                errx(2, "\"%s\" is no number from %u to %u", s, min, max);
        return n;
}

static FILE *open_file(const char *stem, const char *suffix)
{
        char path[512];
        snprintf(path, sizeof(path), "%s%s", stem, suffix);
        FILE *f = fopen(path, "re");
        if (!f)
                err(2, "%s", path);
        return f;
}

static void load_issuer(LoadParams *p, const char *stem)
{
        FILE *certificate = open_file(stem, ".pem"), *key = open_file(stem, ".key");
        p->issuer = PEM_read_X509(certificate, NULL, NULL, NULL);
        p->issuer_key = PEM_read_PrivateKey(key, NULL, NULL, NULL);
        fclose(certificate);
        fclose(key);
        if (!p->issuer || !p->issuer_key)
                errx(2, "%s: no certificate with its key", stem);
}

static uint32_t parse_source(const char *s)
{
        struct in_addr a;
        if (inet_pton(AF_INET, s, &a) != 1)
                errx(2, "\"%s\" is no IPv4 address", s);
        return ntohl(a.s_addr);
}

static void parse_target(Arguments *a, const char *s)
{
        struct sockaddr_in *to = (struct sockaddr_in *)&a->load.to;
        const char *colon = strrchr(s, ':');
        if (!colon || (size_t)(colon - s) >= sizeof(a->address))
                usage();
        snprintf(a->address, sizeof(a->address), "%.*s", (int)(colon - s), s);
        to->sin_family = AF_INET;
        to->sin_port = htons((uint16_t)number(colon + 1, 1, UINT16_MAX));
        if (inet_pton(AF_INET, a->address, &to->sin_addr) != 1)
                usage();
        a->load.to_len = sizeof(*to);
        if (!a->load.host)
                a->load.host = a->address;
}

static void take_option(LoadParams *p, int option)
{
        switch (option) {
        case 'n':
                p->clients = number(optarg, 1, LOAD_CLIENTS_MAX);
                break;
        case 'a':
                p->name = optarg;
                break;
        case 'i':
                load_issuer(p, optarg);
                break;
        case 't':
                p->trust_file = optarg;
                break;
        case 'h':
                p->host = optarg;
                break;
        case 's':
                p->source = parse_source(optarg);
                break;
        case 'v':
                p->version = streq(optarg, "1.2") ? TLS1_2_VERSION : TLS1_3_VERSION;
                break;
        case 'r':
                p->resume = true;
                break;
        case 'l':
                p->tls_only = true;
                break;
        case 'o':
                p->hold = number(optarg, 0, 600) * USEC_PER_SEC;
                break;
        case 'y':
                p->retry = number(optarg, 1, 60000) * USEC_PER_MSEC;
                break;
        case 'e':
                p->repeat = number(optarg, 1, 600) * USEC_PER_SEC;
                break;
        case 'm':
                p->timeout = number(optarg, 1, 1200) * USEC_PER_SEC;
                break;
        default:
                usage();
        }
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                { "clients", required_argument, NULL, 'n' },
                { "name", required_argument, NULL, 'a' },
                { "issuer", required_argument, NULL, 'i' },
                { "trust", required_argument, NULL, 't' },
                { "host", required_argument, NULL, 'h' },
                { "source", required_argument, NULL, 's' },
                { "tls", required_argument, NULL, 'v' },
                { "resume", no_argument, NULL, 'r' },
                { "tls-only", no_argument, NULL, 'l' },
                { "hold", required_argument, NULL, 'o' },
                { "retry", required_argument, NULL, 'y' },
                { "repeat", required_argument, NULL, 'e' },
                { "timeout", required_argument, NULL, 'm' },
                { 0 },
        };
        Arguments a = { .load = { .clients = 200,
                                  .name = "bench",
                                  .version = TLS1_3_VERSION,
                                  .timeout = 60 * USEC_PER_SEC } };
        LoadResult result;
        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;)
                take_option(&a.load, c);
        if (argc - optind != 1 || !a.load.issuer || !a.load.trust_file)
                usage();
        parse_target(&a, argv[optind]);
        signal(SIGPIPE, SIG_IGN);
        load_run(&a.load, &result);
        load_print(&result, stdout);
        puts("");
        X509_free(a.load.issuer);
        EVP_PKEY_free(a.load.issuer_key);
        return result.in < result.clients;
}
