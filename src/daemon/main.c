/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/gateway.h"
#include "daemon/reload.h"
#include "daemon/startup.h"
#include "platform/journal.h"
#include "platform/notify.h"

/* The unit does not start again after this one: only a person can mend it. */
#define EXIT_INVALID    2
#define OWN_DESCRIPTORS 512 /* beside those of the connections */

static void help(void)
{
        printf("sallyportd [OPTIONS...]\n\n"
               "The sallyport gateway daemon. It runs in the foreground.\n\n"
               "  -c --config FOLDER  where sallyport.conf, sallyport.conf.d/ and devices.d/ are\n"
               "                      (default: " SALLYPORT_SYSCONFDIR ")\n"
               "     --check          check the configuration, say what is wrong, and exit\n"
               "  -h --help           show this and exit\n"
               "     --version        show the version and exit\n\n"
               "Signals: SIGHUP reloads the configuration, SIGTERM stops.\n"
               "See sallyportd(8), sallyport.conf(5), sallyportctl(1).\n");
}

typedef struct Options {
        const char *config;
        bool check;
} Options;

/* 1: go on; 0: done; negative: wrong usage. */
static int parse_options(int argc, char **argv, Options *ret)
{
        enum { OPT_CHECK = 0x100, OPT_VERSION };
        static const struct option options[] = {
                { "config", required_argument, NULL, 'c' },
                { "check", no_argument, NULL, OPT_CHECK },
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, OPT_VERSION },
                { 0 },
        };
        for (int c; (c = getopt_long(argc, argv, "c:h", options, NULL)) >= 0;)
                switch (c) {
                case 'c':
                        ret->config = optarg;
                        break;
                case OPT_CHECK:
                        ret->check = true;
                        break;
                case 'h':
                        help();
                        return 0;
                case OPT_VERSION:
                        printf("sallyportd %s\n", SALLYPORT_VERSION);
                        return 0;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                fprintf(stderr, "sallyportd: takes no arguments, got \"%s\"\n", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

/* Handled on the loop, so blocked everywhere else; a peer that is gone must not end the daemon. */
static void block_signals(void)
{
        sigset_t set;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigaddset(&set, SIGHUP);
        sigaddset(&set, SIGPIPE);
        sigprocmask(SIG_BLOCK, &set, NULL);
}

static int on_stop(int signo, void *userdata)
{
        Gateway *g = userdata;
        log_info("Stopping");
        notify_stopping();
        gateway_stop(g);
        return 0;
}

static int on_reload(int signo, void *userdata)
{
        Gateway *g = userdata;
        gateway_reload(g, NULL, NULL);
        return 0;
}

/* Trying again mends the rest: a TPM that is not there yet, an address that is not up. */
static bool needs_a_person(int error)
{
        switch (error) {
        case -EINVAL:       /* a file that is named in the configuration */
        case -EFBIG:        /* likewise */
        case -ENOENT:       /* no identity, or a file that is not there */
        case -ENXIO:        /* another TPM, or one that was cleared */
        case -ENOKEY:       /* no policy */
        case -EBADMSG:      /* a policy that is not the operator's */
        case -EKEYREJECTED: /* PCRs that he has not signed */
        case -EKEYREVOKED:  /* a policy that he retired */
                return true;
        default:
                return false;
        }
}

/* The journal looks up whose message it is after it has read it: of a process that is gone by then
 * the unit is not known, and neither systemctl status nor journalctl -u would show why. */
static int leave(int error)
{
        static const struct timespec moment = { .tv_nsec = 300 * 1000 * 1000 };
        if (error >= 0)
                return EXIT_SUCCESS;
        nanosleep(&moment, NULL);
        return needs_a_person(error) ? EXIT_INVALID : EXIT_FAILURE;
}

/* The kernel's table of descriptors doubles when it is full, and in a process with threads it lets
 * a grace period of RCU pass each time: the loop stood for 10 to 20 ms in the middle of the first
 * burst of connections. There are no threads yet. */
static void make_room_for_descriptors(size_t n)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == 0)
                return;
        int fd = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, (int)MIN(n, limit.rlim_cur - 1));
        if (fd >= 0)
                close(fd);
}

static int run(const char *config, Settings *settings)
{
        _cleanup_(loop_freep) Loop *loop = NULL;
        _cleanup_(gateway_freep) Gateway *gateway = NULL;
        _cleanup_(loop_source_freep) LoopSource *term = NULL, *interrupt = NULL, *hangup = NULL;

        int r = loop_new(&loop);
        if (r >= 0)
                r = loop_watch(loop);
        if (r < 0)
                return log_error_errno(r, "Cannot set up the event loop");
        r = gateway_new(loop, config, settings, &gateway);
        if (r < 0)
                return r;
        r = loop_add_signal(loop, &term, SIGTERM, on_stop, gateway);
        if (r >= 0)
                r = loop_add_signal(loop, &interrupt, SIGINT, on_stop, gateway);
        if (r >= 0)
                r = loop_add_signal(loop, &hangup, SIGHUP, on_reload, gateway);
        if (r < 0)
                return log_error_errno(r, "Cannot watch signals");
        r = loop_run(loop);
        if (r < 0)
                log_error_errno(r, "The event loop failed; the packet filter stays as it is");
        return r;
}

int main(int argc, char **argv)
{
        Options options = { .config = SALLYPORT_SYSCONFDIR };
        Settings *settings = NULL;
        int r = parse_options(argc, argv, &options);
        if (r <= 0)
                return r < 0 ? EXIT_INVALID : EXIT_SUCCESS;
        journal_setup();
        r = startup_load(options.config, &settings);
        if (r < 0)
                return leave(-EINVAL);
        if (options.check) {
                r = startup_check_files(settings);
                if (r >= 0)
                        printf("%s: no errors; zones %zu, classes %zu, devices %zu\n",
                               options.config, settings->n_zones, settings->n_classes,
                               settings->n_devices);
                settings_free(settings);
                return r < 0 ? EXIT_INVALID : EXIT_SUCCESS;
        }
        log_set_max_level(settings->log_level);
        block_signals();
        make_room_for_descriptors(settings->mqtt.maximum_connections + OWN_DESCRIPTORS);
        return leave(run(options.config, settings));
}
