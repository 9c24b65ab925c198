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

int policy_for_now(Identity *id, Policy *ret, Reason *reason)
{
        Policy p = { .counter_index = identity_counter_index(id) };
        memcpy(p.operator_point, identity_operator_point(id), P256_POINT_SIZE);
        int r = identity_read_pcrs(id, identity_pcrs(id), &p.pcrs, reason);
        if (r == 0)
                r = identity_read_counter(id, &p.counter_maximum, reason);
        if (r == 0)
                *ret = p;
        return r;
}

typedef struct Prediction {
        PcrValues given; /* instead of the TPM's own */
        uint64_t counter;
        const char *output;
} Prediction;

static int take_pcr(const char *argument, PcrValues *pcrs)
{
        char number[4] = "";
        uint32_t pcr;
        const char *equals = strchr(argument, '=');
        if (!equals || equals - argument >= (long)sizeof(number))
                return -EINVAL;
        memcpy(number, argument, (size_t)(equals - argument));
        if (parse_u32(number, 0, POLICY_PCR_COUNT - 1, &pcr) < 0 || pcrs->mask & 1U << pcr ||
            hex_decode(equals + 1, pcrs->values[pcr], POLICY_DIGEST_SIZE) < 0)
                return -EINVAL;
        pcrs->mask |= 1U << pcr;
        return 0;
}

static int parse_prediction(int argc, char **argv, Prediction *p, Reason *reason)
{
        static const struct option options[] = {
                { "pcr", required_argument, NULL, 'p' },
                { "counter", required_argument, NULL, 'c' },
                { "output", required_argument, NULL, 'o' },
                { 0 },
        };
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "o:", options, NULL)) >= 0) {
                if (o == 'o')
                        p->output = optarg;
                else if (o == 'p' && take_pcr(optarg, &p->given) < 0)
                        return reason_set(reason, -EINVAL,
                                          "\"%s\" is no PCR and its SHA-256 value, such as 7=64 "
                                          "hex digits, given once",
                                          optarg);
                else if (o == 'c' && parse_u64(optarg, 0, INT64_MAX, &p->counter) < 0)
                        return reason_set(reason, -EINVAL, "\"%s\" is no counter value", optarg);
                else if (o == '?')
                        return reason_set(reason, -EINVAL, "This is no option of policy predict");
        }
        return optind == argc ? 0 : reason_set(reason, -EINVAL, "\"%s\" is too much", argv[optind]);
}

static int put_given(const PcrValues *given, Policy *p, Reason *reason)
{
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                if (!(given->mask & 1U << i))
                        continue;
                if (!(p->pcrs.mask & 1U << i))
                        return reason_set(reason, -EINVAL,
                                          "PCR %u is not one of this identity's PCRs", i);
                memcpy(p->pcrs.values[i], given->values[i], POLICY_DIGEST_SIZE);
        }
        return 0;
}

int command_policy_predict(const CommandContext *c, int argc, char **argv)
{
        Prediction q = { .counter = UINT64_MAX };
        Policy p;
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        _cleanup_free_ char *json = NULL, *text = NULL;
        if (parse_prediction(argc, argv, &q, &reason) < 0)
                return command_misused(&reason);
        int r = machine_identity(c, &id, &reason);
        if (r == 0)
                r = policy_for_now(id, &p, &reason);
        if (r == 0)
                r = put_given(&q.given, &p, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        if (q.counter != UINT64_MAX)
                p.counter_maximum = q.counter;
        json = policy_to_json(&p);
        if (!json || asprintf(&text, "%s\n", json) < 0)
                return COMMAND_FAILED;
        return command_output(q.output, text);
}

int command_policy_sign(const CommandContext *c, int argc, char **argv)
{
        static const char form[] = "policy sign --key KEY FILE [-o FILE]";
        static const struct option options[] = { { "key", required_argument, NULL, 'k' },
                                                 { "output", required_argument, NULL, 'o' },
                                                 { 0 } };
        const char *key = NULL, *output = NULL;
        _cleanup_free_ char *json = NULL, *text = NULL;
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
        json = policy_to_json(&p);
        if (!json || asprintf(&text, "%s\n", json) < 0)
                return COMMAND_FAILED;
        return command_output(output, text);
}

int command_policy_install(const CommandContext *c, int argc, char **argv)
{
        IdentityCertificate x;
        Policy p;
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        if (argc != 2)
                return command_usage("policy install FILE");
        int r = policy_load(argv[1], &p, &reason);
        if (r == 0)
                r = machine_identity(c, &id, &reason);
        if (r == 0)
                r = identity_install_policy(id, &p, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        /* For a state to come it may well not hold yet. */
        if (identity_check(id, &reason) == 0)
                printf("The policy is in force, and the identity works under it.%s\n",
                       identity_certificate(id, &x, &reason) == -ENOENT
                               ? "\nNext: sallyportctl identity csr"
                               : "");
        else
                printf("The policy is in force. As things are now the identity does not work: "
                       "%s.\n",
                       reason.text);
        return COMMAND_OK;
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
        if (r == 0)
                r = identity_read_counter(id, &counter, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        const Policy *p = identity_policy(id);
        if (!force && (!p || p->counter_maximum <= counter)) {
                reason_set(&reason, -EKEYREVOKED,
                           "This would retire the policy in force too (it holds up to %" PRIu64
                           "). First install one made with \"policy predict --counter %" PRIu64
                           "\", or give --force",
                           p ? p->counter_maximum : 0, counter + 1);
                return command_fail(-EKEYREVOKED, &reason);
        }
        r = identity_retire_policies(id, &counter, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        printf("The counter stands at %" PRIu64 ": policies with a lower maximum are dead.\n",
               counter);
        return COMMAND_OK;
}

static void print_pcrs(const PcrValues *wanted, const PcrValues *now)
{
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                char want[2 * POLICY_DIGEST_SIZE + 1] = "", is[2 * POLICY_DIGEST_SIZE + 1];
                if (!(now->mask & 1U << i))
                        continue;
                hex_encode(BYTES(now->values[i], POLICY_DIGEST_SIZE), is);
                printf("  PCR %-2u      %s%s\n", i, is,
                       !wanted ? ""
                       : memcmp(wanted->values[i], now->values[i], POLICY_DIGEST_SIZE)
                               ? "  DIFFERS"
                               : "  as wanted");
                if (wanted && memcmp(wanted->values[i], now->values[i], POLICY_DIGEST_SIZE) != 0) {
                        hex_encode(BYTES(wanted->values[i], POLICY_DIGEST_SIZE), want);
                        printf("    wanted    %s\n", want);
                }
        }
}

typedef struct State {
        PcrValues now;
        uint64_t counter;
} State;

static int read_state(Identity *id, State *ret, Reason *reason)
{
        const Policy *p = identity_policy(id);
        int r = identity_read_counter(id, &ret->counter, reason);
        return r < 0 ? r
                     : identity_read_pcrs(id, p ? p->pcrs.mask : identity_pcrs(id), &ret->now,
                                          reason);
}

static json_t *pcrs_to_view(const Policy *p, const PcrValues *now)
{
        json_t *pcrs = json_object();
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                char number[4], is[2 * POLICY_DIGEST_SIZE + 1], want[2 * POLICY_DIGEST_SIZE + 1];
                if (!(now->mask & 1U << i))
                        continue;
                snprintf(number, sizeof(number), "%u", i);
                hex_encode(BYTES(now->values[i], POLICY_DIGEST_SIZE), is);
                if (p)
                        hex_encode(BYTES(p->pcrs.values[i], POLICY_DIGEST_SIZE), want);
                json_object_set_new(pcrs, number,
                                    json_pack("{s:s, s:s*}", "now", is, "wanted", p ? want : NULL));
        }
        return pcrs;
}

int policy_to_view(Identity *id, json_t **ret, Reason *reason)
{
        const Policy *p = identity_policy(id);
        State s;
        int r = read_state(id, &s, reason);
        if (r < 0)
                return r;
        json_t *view = json_pack("{s:b, s:I, s:o}", "installed", p != NULL, "counter",
                                 (json_int_t)s.counter, "pcrs", pcrs_to_view(p, &s.now));
        if (p)
                json_object_set_new(view, "counter-maximum",
                                    json_integer((json_int_t)p->counter_maximum));
        if (!view)
                return reason_set(reason, -ENOMEM, "Out of memory");
        *ret = view;
        return 0;
}

int policy_print(Identity *id, Reason *reason)
{
        const Policy *p = identity_policy(id);
        State s;
        int r = read_state(id, &s, reason);
        if (r < 0)
                return r;
        puts(p ? "Policy        in force" : "Policy        none");
        print_pcrs(p ? &p->pcrs : NULL, &s.now);
        printf("  counter     %" PRIu64, s.counter);
        if (p)
                printf(", the policy holds up to %" PRIu64, p->counter_maximum);
        putchar('\n');
        return 0;
}

int command_policy_show(const CommandContext *c, int argc, char **argv)
{
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        if (argc != 1)
                return command_usage("policy show");
        int r = machine_identity(c, &id, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        if (c->json && identity_policy(id)) {
                _cleanup_free_ char *json = policy_to_json(identity_policy(id));
                return json && puts(json) >= 0 ? COMMAND_OK : COMMAND_FAILED;
        }
        r = policy_print(id, &reason);
        if (r == 0)
                r = identity_check(id, &reason);
        return r < 0 ? command_fail(r, &reason) : COMMAND_OK;
}
