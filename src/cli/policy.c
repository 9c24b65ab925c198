/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl policy: in which state of the machine the identity works. */
#include "cli/policy.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/machine.h"
#include "cli/pcr-values.h"

int policy_for_now(Identity *id, Policy *ret, Reason *reason)
{
        Policy p = { .counter_index = identity_counter_index(id) };
        memcpy(p.operator_point, identity_present_operator(id), P256_POINT_SIZE);
        int r = identity_read_pcrs(id, identity_pcrs(id), &p.pcrs, reason);
        if (r == 0)
                r = identity_read_counter(id, &p.counter_maximum, reason);
        if (r == 0)
                *ret = p;
        return r;
}

int policy_output(const Policy *p, const char *path)
{
        Reason reason;
        _cleanup_free_ char *json = policy_to_json(p), *text = NULL;
        if (json && asprintf(&text, "%s\n", json) >= 0)
                return command_output(path, text);
        reason_set(&reason, -EIO,
                   "The policy cannot be written down: its counter is beyond 2^63, or there is no "
                   "memory");
        return command_fail(-EIO, &reason);
}

typedef struct Prediction {
        GivenPcrs given; /* instead of the TPM's own */
        uint64_t counter;
        const char *output;
} Prediction;

static int parse_prediction(int argc, char **argv, Prediction *p, Reason *reason)
{
        static const struct option options[] = {
                { "pcr", required_argument, NULL, 'p' },
                { "pcrs", required_argument, NULL, 'f' },
                { "counter", required_argument, NULL, 'c' },
                { "output", required_argument, NULL, 'o' },
                { 0 },
        };
        int o, r = 0;
        COMMAND_OPTIONS_START();
        while (r == 0 && (o = getopt_long(argc, argv, "o:", options, NULL)) >= 0) {
                if (o == 'o')
                        p->output = optarg;
                else if (o == 'p' || o == 'f')
                        r = o == 'p' ? pcr_values_take(optarg, &p->given, reason)
                                     : pcr_values_read(optarg, &p->given, reason);
                else if (o == 'c' && parse_u64(optarg, 0, INT64_MAX, &p->counter) < 0)
                        return reason_set(reason, -EINVAL, "\"%s\" is no counter value", optarg);
                else if (o == '?')
                        return reason_set(reason, -EINVAL, "This is no option of policy predict");
        }
        if (r < 0)
                return r;
        return optind == argc ? 0 : reason_set(reason, -EINVAL, "\"%s\" is too much", argv[optind]);
}

int command_policy_predict(const CommandContext *c, int argc, char **argv)
{
        Prediction q = { .counter = UINT64_MAX };
        Policy p;
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        int r = parse_prediction(argc, argv, &q, &reason);
        if (r == -EINVAL)
                return command_misused(&reason);
        if (r == 0)
                r = machine_identity(c, &id, &reason);
        if (r == 0)
                r = policy_for_now(id, &p, &reason);
        if (r == 0)
                r = pcr_values_put(&q.given, &p.pcrs, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        if (q.counter != UINT64_MAX)
                p.counter_maximum = q.counter;
        return policy_output(&p, q.output);
}

int command_policy_sign(const CommandContext *c, int argc, char **argv)
{
        static const char form[] = "policy sign --key KEY FILE [-o FILE]";
        static const struct option options[] = { { "key", required_argument, NULL, 'k' },
                                                 { "output", required_argument, NULL, 'o' },
                                                 { 0 } };
        const char *key = NULL, *output = NULL;
        Policy p;
        Reason reason;
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "o:", options, NULL)) >= 0) {
                if (o == 'k')
                        key = optarg;
                else if (o == 'o')
                        output = optarg;
                else
                        return command_usage(form);
        }
        if (!key || argc - optind != 1)
                return command_usage(form);
        int r = policy_load(argv[optind], &p, &reason);
        if (r == 0)
                r = policy_sign(&p, key, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        return policy_output(&p, output);
}

/* For a state to come it may well not hold yet. */
static void say_whether_it_holds(Identity *id, const Policy *p)
{
        static const char *const words[] = {
                [POLICY_HOLDS] = "it holds as things are now",
                [POLICY_PCRS_DIFFER] = "it is for other PCR values than those of now",
                [POLICY_RETIRED] = "it is of no use, the counter is beyond its maximum (retired)",
        };
        PcrValues now;
        uint64_t counter;
        Reason ignored; /* whether the identity works is asked next, and tells it */
        if (policy_read_state(id, &now, &counter, &ignored) == 0)
                printf("The policy is installed: %s.\n", words[policy_fits(p, &now, counter)]);
        else
                puts("The policy is installed.");
}

static void say_whether_it_works(const CommandContext *c, const Policy *p)
{
        IdentityCertificate x;
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        if (machine_identity(c, &id, &reason) < 0) {
                printf("The policy is installed. The TPM could not be asked whether it holds now: "
                       "%s.\n",
                       reason.text);
                return;
        }
        say_whether_it_holds(id, p);
        if (identity_check(id, &reason) < 0)
                printf("As things are now the identity does not work: %s.\n", reason.text);
        else
                printf("The identity works as things are now.\n%s",
                       identity_certificate(id, &x, &reason) == -ENOENT
                               ? "Next: sallyportctl identity csr\n"
                               : "");
}

int command_policy_install(const CommandContext *c, int argc, char **argv)
{
        Policy p;
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        if (argc != 2)
                return command_usage("policy install FILE");
        int r = policy_load(argv[1], &p, &reason);
        if (r == 0)
                r = machine_files(c, &id, &reason);
        if (r == 0)
                r = identity_install_policy(id, &p, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        say_whether_it_works(c, &p);
        puts("Where the daemon runs, systemctl reload sallyportd takes it over.");
        return COMMAND_OK;
}

/* Would one that holds now go on to, with the counter one further? */
static bool one_remains(Identity *id, const PcrValues *now, uint64_t counter)
{
        for (size_t i = 0; i < identity_n_policies(id); i++)
                if (!identity_policy(id, i)->hands_over &&
                    identity_policy_fits(id, i, now, counter + 1) == POLICY_HOLDS)
                        return true;
        return false;
}

static int check_retirement(Identity *id, Reason *reason)
{
        PcrValues now;
        uint64_t counter;
        int r = policy_read_state(id, &now, &counter, reason);
        if (r < 0 || one_remains(id, &now, counter))
                return r;
        return reason_set(reason, -EKEYREVOKED,
                          "This would retire the policy in force too. First install one made with "
                          "\"policy predict --counter %" PRIu64 "\", or give --force",
                          counter + 1);
}

int command_policy_retire(const CommandContext *c, int argc, char **argv)
{
        bool force = argc == 2 && streq(argv[1], "--force");
        uint64_t counter;
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        if (argc != 1 && !force)
                return command_usage("policy retire [--force]");
        int r = machine_identity(c, &id, &reason);
        if (r == 0 && !force)
                r = check_retirement(id, &reason);
        if (r == 0)
                r = identity_retire_policies(id, &counter, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        printf("The counter stands at %" PRIu64 ": policies with a lower maximum are dead.\n",
               counter);
        return COMMAND_OK;
}
