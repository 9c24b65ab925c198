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
 *   --hold SECONDS     all stay connected for so long, or until SIGTERM; "ready" says that it
 * begins
 *   --retry MS         whoever fails comes again after this time
 *   --repeat SECONDS   each connects again and again for so long
 *   --timeout SECONDS  for all of it (60)
 *   --watch PID        a server whose CPU time is told */

#include <getopt.h>
#include <signal.h>

#include "base/str.h"
#include "options.h"

static void usage(void)
{
        fprintf(stderr, "usage: handshake-load --issuer FILE --trust FILE [OPTION]... "
                        "ADDRESS:PORT (the options: handshake-load.c)\n");
        exit(2);
}

static volatile sig_atomic_t over;

static void on_term(int signal)
{
        over = true;
}

static void say_ready(void)
{
        puts("ready");
        fflush(stdout);
}

static void take_option(LoadParams *p, int option)
{
        switch (option) {
        case 'n':
                p->clients = option_number(optarg, 1, LOAD_CLIENTS_MAX);
                break;
        case 'a':
                p->name = optarg;
                break;
        case 'i':
                option_pair(optarg, &p->issuer, &p->issuer_key);
                break;
        case 't':
                p->trust_file = optarg;
                break;
        case 'h':
                p->host = optarg;
                break;
        case 's':
                p->source = option_source(optarg);
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
                p->hold = option_number(optarg, 0, 600) * USEC_PER_SEC;
                p->held = say_ready;
                p->over = &over;
                signal(SIGTERM, on_term);
                break;
        case 'y':
                p->retry = option_number(optarg, 1, 60000) * USEC_PER_MSEC;
                break;
        case 'e':
                p->repeat = option_number(optarg, 1, 600) * USEC_PER_SEC;
                break;
        case 'm':
                p->timeout = option_number(optarg, 1, 1200) * USEC_PER_SEC;
                break;
        case 'w':
                p->watch = (pid_t)option_number(optarg, 1, INT32_MAX);
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
                { "watch", required_argument, NULL, 'w' },
                { 0 },
        };
        LoadParams load = { .clients = 200,
                            .name = "bench",
                            .version = TLS1_3_VERSION,
                            .timeout = 60 * USEC_PER_SEC };
        LoadResult result;
        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;)
                take_option(&load, c);
        if (argc - optind != 1 || !load.issuer || !load.trust_file)
                usage();
        option_target(&load, argv[optind]);
        signal(SIGPIPE, SIG_IGN);
        load_run(&load, &result);
        load_print(&result, stdout);
        puts("");
        X509_free(load.issuer);
        EVP_PKEY_free(load.issuer_key);
        return result.in < result.clients;
}
