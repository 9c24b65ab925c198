/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl identity enroll: from keys to a certificate at an EST server, in one command. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/identity.h"
#include "cli/machine.h"
#include "platform/est.h"
#include "platform/identity-candidate.h"
#include "platform/user-file.h"

#define WAIT_DEFAULT (10 * USEC_PER_MIN)

typedef struct Enrollment {
        const char *server, *ca, *label, *user_file, *certificate, *key, *subject;
        const char *names[IDENTITY_NAMES_MAX];
        size_t n_names;
        usec_t wait;
} Enrollment;

static int parse_option(int o, Enrollment *q, Reason *reason)
{
        const char **texts[] = {
                ['s'] = &q->server,    ['c'] = &q->ca,          ['l'] = &q->label,
                ['u'] = &q->user_file, ['C'] = &q->certificate, ['k'] = &q->key,
                ['S'] = &q->subject,
        };
        if (o == 'n' && q->n_names < ELEMENTSOF(q->names))
                q->names[q->n_names++] = optarg;
        else if (o == 'n')
                return reason_set(reason, -EINVAL, "There are more than %zu names",
                                  ELEMENTSOF(q->names));
        else if (o == 'w' && parse_usec(optarg, &q->wait) < 0)
                return reason_set(reason, -EINVAL, "\"%s\" is no time span such as 90s or 15min",
                                  optarg);
        else if (o < (int)ELEMENTSOF(texts) && texts[o])
                *texts[o] = optarg;
        else if (o != 'w')
                return reason_set(reason, -EINVAL, "This is no option of identity enroll");
        return 0;
}

static int parse(int argc, char **argv, Enrollment *q, Reason *reason)
{
        static const struct option options[] = {
                { "server", required_argument, NULL, 's' },
                { "ca", required_argument, NULL, 'c' },
                { "label", required_argument, NULL, 'l' },
                { "user", required_argument, NULL, 'u' },
                { "cert", required_argument, NULL, 'C' },
                { "key", required_argument, NULL, 'k' },
                { "subject", required_argument, NULL, 'S' },
                { "name", required_argument, NULL, 'n' },
                { "address", required_argument, NULL, 'n' },
                { "wait", required_argument, NULL, 'w' },
                { 0 },
        };
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                int r = parse_option(o, q, reason);
                if (r < 0)
                        return r;
        }
        if (optind != argc)
                return reason_set(reason, -EINVAL, "\"%s\" is too much", argv[optind]);
        if (!q->certificate != !q->key)
                return reason_set(reason, -EINVAL, "--cert and --key go together");
        if (q->certificate && q->user_file)
                return reason_set(reason, -EINVAL, "Either --user or --cert says who asks");
        return 0;
}

/* What the command line does not say, the configuration does. */
static int complete(Enrollment *q, const Machine *m, Reason *reason)
{
        if (!q->server)
                q->server = m->enrollment.server;
        if (!q->ca)
                q->ca = m->enrollment.ca;
        if (!q->label)
                q->label = m->enrollment.label;
        if (!q->user_file && !q->certificate)
                q->user_file = m->enrollment.user_file;
        if (!q->server)
                return reason_set(reason, -EINVAL,
                                  "Which EST server? Say it with --server or Server= of "
                                  "[Enrollment]");
        if (!q->ca)
                return reason_set(reason, -EINVAL,
                                  "By which CA is the server known? Name the file with --ca or CA= "
                                  "of [Enrollment]");
        return 0;
}

typedef struct Run {
        Loop *loop;
        Est *est;
        LoopSource *tick;
        usec_t told; /* of the pause that the operator has heard of */
        char *pem;
        int error;
        Reason *reason;
} Run;

static void on_done(const EstResult *result, void *userdata)
{
        Run *run = userdata;
        run->est = NULL;
        run->pem = result->pem ? strdup(result->pem) : NULL;
        if (!run->pem)
                run->error = reason_set(run->reason, result->error < 0 ? result->error : -EPROTO,
                                        "%s", result->reason);
        loop_exit(run->loop, 0);
}

/* Minutes of silence look like a hang. */
static int on_tick(void *userdata)
{
        Run *run = userdata;
        char span[USEC_FORMAT_MAX];
        usec_t until = est_waits_until(run->est), now = now_boottime();
        if (until > now && until != run->told) {
                run->told = until;
                usec_t whole = (until - now) / USEC_PER_SEC * USEC_PER_SEC + USEC_PER_SEC;
                fprintf(stderr, "The CA has not decided yet, asking again in %s.\n",
                        usec_format_span(whole, span));
        }
        return loop_timer_arm_relative(run->tick, 200 * USEC_PER_MSEC);
}

static int run_loop(const EstParams *p, Run *run)
{
        int r = est_start(p, on_done, run, &run->est, run->reason);
        if (r < 0)
                return r;
        r = loop_add_timer(run->loop, &run->tick, LOOP_PEER, on_tick, run);
        if (r == 0)
                r = loop_timer_arm_relative(run->tick, 200 * USEC_PER_MSEC);
        if (r == 0)
                r = loop_run(run->loop);
        loop_source_free(run->tick);
        est_cancel(run->est);
        return r < 0 ? reason_set(run->reason, r, "Cannot run: %s", strerror(-r)) : run->error;
}

/* Who asks: name and password, a certificate for this once, or the one that is there. */
static int show_who(const Enrollment *q, Identity *id, char **ret_user, Credential **ret,
                    Reason *reason)
{
        Reason none;
        if (q->certificate)
                return credential_load(q->certificate, q->key, ret, reason);
        if (q->user_file)
                return user_file_read(q->user_file, ret_user, reason);
        identity_credential(id, ret, &none);
        return 0;
}

static int ask(const Enrollment *q, const Machine *m, Identity *id, char **ret_pem, Reason *reason)
{
        _cleanup_(user_file_freep) char *user = NULL;
        _cleanup_(credential_unrefp) Credential *credential = NULL;
        _cleanup_(loop_freep) Loop *loop = NULL;
        char host[HOST_NAME_MAX + 1] = "";
        int r = show_who(q, id, &user, &credential, reason);
        if (r < 0)
                return machine_fail(r, reason);
        r = loop_new(&loop);
        if (r < 0)
                return reason_set(reason, r, "Cannot set up: %s", strerror(-r));
        if (!m->name)
                gethostname(host, sizeof(host) - 1);
        const EstParams p = {
                .loop = loop,
                .identity = id,
                .server = q->server,
                .label = q->label,
                .ca = q->ca,
                .user = user,
                .credential = credential,
                .common_name = q->subject ? q->subject
                               : m->name  ? m->name
                                          : host,
                .names = q->n_names > 0 ? q->names : m->names,
                .n_names = q->n_names > 0 ? q->n_names : m->n_names,
                .patience = q->wait,
        };
        Run run = { .loop = loop, .reason = reason };
        r = run_loop(&p, &run);
        if (r == 0)
                *ret_pem = run.pem;
        return r;
}

static int install(const Enrollment *q, Identity *id, const char *pem, Reason *reason)
{
        _cleanup_(identity_candidate_freep) IdentityCandidate *c = NULL;
        IdentityCertificate x;
        int r = identity_candidate_new(id, bytes_from_str(pem), q->ca, false, &c, reason);
        if (r == 0)
                r = identity_candidate_promote(c, reason);
        if (r == 0)
                r = identity_certificate(id, &x, reason);
        if (r == 0)
                identity_print_certificate(&x);
        return r;
}

int command_identity_enroll(const CommandContext *c, int argc, char **argv)
{
        _cleanup_machine_ Machine m = { 0 };
        _cleanup_(identity_freep) Identity *id = NULL;
        _cleanup_free_ char *pem = NULL;
        Enrollment q = { .wait = WAIT_DEFAULT };
        Reason reason;
        if (parse(argc, argv, &q, &reason) < 0)
                return command_misused(&reason);
        bool all = q.server && q.ca && q.subject && q.n_names > 0;
        int r = machine_load(c, all ? NULL : "--server, --ca, --subject and --name", &m, &reason);
        if (r == 0 && complete(&q, &m, &reason) < 0)
                return command_misused(&reason);
        if (r == 0)
                r = machine_open(&m, &id, &reason);
        if (r == 0)
                r = ask(&q, &m, id, &pem, &reason);
        if (r == 0)
                r = install(&q, id, pem, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        identity_print_next();
        return COMMAND_OK;
}
