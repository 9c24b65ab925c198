/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl identity init, install: on the TPM itself, while the daemon need not run. */
#include "platform/identity.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/identity.h"
#include "cli/machine.h"
#include "cli/policy.h"
#include "platform/operator-key.h"

typedef struct Init {
        const char *operator_key, *sign_with, *pcrs;
        bool force;
} Init;

static int parse_init(int argc, char **argv, Init *p, Reason *reason)
{
        enum { OPERATOR = 256, SIGN, PCRS, FORCE };
        static const struct option options[] = {
                { "operator-key", required_argument, NULL, OPERATOR },
                { "sign-with", required_argument, NULL, SIGN },
                { "pcrs", required_argument, NULL, PCRS },
                { "force", no_argument, NULL, FORCE },
                { 0 },
        };
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (o == OPERATOR)
                        p->operator_key = optarg;
                else if (o == SIGN)
                        p->sign_with = optarg;
                else if (o == PCRS)
                        p->pcrs = optarg;
                else if (o == FORCE)
                        p->force = true;
                else
                        return reason_set(reason, -EINVAL, "This is no option of identity init");
        }
        if (optind != argc || (!p->operator_key && !p->sign_with))
                return reason_set(reason, -EINVAL,
                                  "Name the operator's key with --operator-key KEY or "
                                  "--sign-with KEY, a PEM file or a PKCS#11 URI");
        return 0;
}

static int make_keys(const Init *q, const Machine *m, Reason *reason)
{
        IdentityParams p = {
                .tcti = m->tcti, .state_directory = m->state, .pcrs = m->pcrs, .force = q->force
        };
        if (q->pcrs && pcrs_parse(q->pcrs, &p.pcrs) < 0)
                return reason_set(reason, -EINVAL, "\"%s\" is no list of PCRs such as \"0 2 4 7\"",
                                  q->pcrs);
        int r = operator_key_load(q->operator_key ? q->operator_key : q->sign_with,
                                  p.operator_point, reason);
        if (r == 0)
                r = identity_create(&p, reason);
        return r < 0 ? machine_fail(r, reason) : 0;
}

/* A policy for the state of the machine as it is, signed on the spot. */
static int sign_for_now(const char *key, const Machine *m, Reason *reason)
{
        _cleanup_(identity_freep) Identity *id = NULL;
        Policy policy;
        int r = machine_open(m, &id, reason);
        if (r == 0)
                r = policy_for_now(id, &policy, reason);
        if (r == 0)
                r = policy_sign(&policy, key, reason);
        if (r == 0)
                r = identity_install_policy(id, &policy, reason);
        return r < 0 ? r : identity_check(id, reason);
}

int command_identity_init(const CommandContext *c, int argc, char **argv)
{
        _cleanup_machine_ Machine m = { 0 };
        Init q = { 0 };
        Reason reason;
        if (parse_init(argc, argv, &q, &reason) < 0)
                return command_misused(&reason);
        int r = machine_load(c, q.pcrs ? NULL : "--pcrs", &m, &reason);
        if (r == 0)
                r = make_keys(&q, &m, &reason);
        if (r == 0 && q.sign_with)
                r = sign_for_now(q.sign_with, &m, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        if (q.sign_with)
                puts("The keys are made, and the policy for the present PCR values is in force.\n"
                     "Next: sallyportctl identity csr");
        else
                puts("The keys are made. They work once the operator has signed a policy:\n"
                     "  sallyportctl policy predict -o policy.json\n"
                     "  sallyportctl policy sign --key KEY policy.json -o signed.json\n"
                     "  sallyportctl policy install signed.json");
        return COMMAND_OK;
}

void identity_print_next(void)
{
        puts("Next: sallyportd --check && systemctl enable --now sallyportd\n"
             "Where the daemon runs already, systemctl reload sallyportd takes it over.");
}

int command_identity_install(const CommandContext *c, int argc, char **argv)
{
        static const struct option options[] = { { "ca", required_argument, NULL, 'c' }, { 0 } };
        const char *ca = NULL;
        Reason reason;
        IdentityCertificate x;
        _cleanup_(identity_freep) Identity *id = NULL;
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (o != 'c')
                        return command_usage("identity install CERT [--ca FILE]");
                ca = optarg;
        }
        if (argc - optind != 1)
                return command_usage("identity install CERT [--ca FILE]");
        int r = machine_files(c, &id, &reason);
        if (r == 0)
                r = identity_install_certificate(id, argv[optind], ca, &reason);
        if (r == 0)
                r = identity_certificate(id, &x, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        identity_print_certificate(&x);
        identity_print_next();
        return COMMAND_OK;
}
