/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl policy show, check: which policies are installed, and in which state of the machine
 * the gateway works. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/machine.h"
#include "cli/pcr-values.h"
#include "cli/policy.h"
#include "cli/view.h"

#define ID_SIZE 12 /* digits of a policy's digest that tell it apart */

/* A state of the machine: as it is, or as somebody expects it. */
typedef struct State {
        PcrValues pcrs;
        uint64_t counter;
} State;

int policy_read_state(Identity *id, PcrValues *ret_now, uint64_t *ret_counter, Reason *reason)
{
        uint32_t mask = identity_pcrs(id);
        for (size_t i = 0; i < identity_n_policies(id); i++)
                mask |= identity_policy(id, i)->pcrs.mask;
        int r = identity_read_counter(id, ret_counter, reason);
        return r < 0 ? r : identity_read_pcrs(id, mask, ret_now, reason);
}

static void name_policy(const Policy *p, char ret[static ID_SIZE + 1])
{
        uint8_t digest[POLICY_DIGEST_SIZE];
        char hex[2 * POLICY_DIGEST_SIZE + 1] = "";
        if (policy_digest(p, digest) == 0)
                hex_encode(BYTES(digest, sizeof(digest)), hex);
        snprintf(ret, ID_SIZE + 1, "%.*s", ID_SIZE, hex);
}

static const char *fit_word(PolicyFit fit)
{
        static const char *const words[] = {
                [POLICY_HOLDS] = "holds",
                [POLICY_PCRS_DIFFER] = "differs",
                [POLICY_RETIRED] = "retired",
        };
        return words[fit];
}

static bool any_holds(const Identity *id, const State *s)
{
        for (size_t i = 0; i < identity_n_policies(id); i++)
                if (!identity_policy(id, i)->hands_over &&
                    policy_fits(identity_policy(id, i), &s->pcrs, s->counter) == POLICY_HOLDS)
                        return true;
        return false;
}

/* ---- text ---- */

static void print_differing(const Policy *p, const State *s)
{
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                char want[2 * POLICY_DIGEST_SIZE + 1];
                if (!(p->pcrs.mask & 1U << i) ||
                    memcmp(p->pcrs.values[i], s->pcrs.values[i], POLICY_DIGEST_SIZE) == 0)
                        continue;
                hex_encode(BYTES(p->pcrs.values[i], POLICY_DIGEST_SIZE), want);
                printf("    PCR %-2u    DIFFERS, it wants %s\n", i, want);
        }
}

/* Which key, in so many digits as tell it apart. */
static void name_key(const uint8_t point[static P256_POINT_SIZE], char ret[static ID_SIZE + 1])
{
        uint8_t digest[POLICY_DIGEST_SIZE];
        char hex[2 * POLICY_DIGEST_SIZE + 1] = "";
        if (p256_spki_sha256(point, digest) == 0)
                hex_encode(BYTES(digest, sizeof(digest)), hex);
        snprintf(ret, ID_SIZE + 1, "%.*s", ID_SIZE, hex);
}

static void print_handover(const Policy *p, const State *s)
{
        char name[ID_SIZE + 1], from[ID_SIZE + 1], to[ID_SIZE + 1];
        name_policy(p, name);
        name_key(p->operator_point, from);
        name_key(p->successor, to);
        printf("  %s  %s; operator key %s... hands over to %s...\n", name,
               fit_word(policy_fits(p, &s->pcrs, s->counter)), from, to);
}

static void print_policy(const Policy *p, const State *s)
{
        char name[ID_SIZE + 1];
        PolicyFit fit = policy_fits(p, &s->pcrs, s->counter);
        _cleanup_free_ char *pcrs = pcrs_format(p->pcrs.mask);
        name_policy(p, name);
        printf("  %s  %s; PCRs %s, counter up to %" PRIu64 "\n", name,
               view_toned(fit == POLICY_HOLDS ? TONE_GOOD : TONE_WARN, fit_word(fit)),
               strempty(pcrs), p->counter_maximum);
        if (fit == POLICY_PCRS_DIFFER)
                print_differing(p, s);
}

static void print_policies(const Identity *id, const State *s)
{
        puts(identity_n_policies(id) > 0 ? "Policies" : "Policies      none");
        for (size_t i = 0; i < identity_n_policies(id); i++) {
                const Policy *p = identity_policy(id, i);
                if (p->hands_over)
                        print_handover(p, s);
                else
                        print_policy(p, s);
        }
}

static void print_state(const State *s)
{
        printf("Now\n");
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                char is[2 * POLICY_DIGEST_SIZE + 1];
                if (!(s->pcrs.mask & 1U << i))
                        continue;
                hex_encode(BYTES(s->pcrs.values[i], POLICY_DIGEST_SIZE), is);
                printf("  PCR %-2u      %s\n", i, is);
        }
        printf("  counter     %" PRIu64 "\n", s->counter);
}

/* A boot brings the PCRs to what is measured on its way; they do not go back without one. */
static void print_next_start(const Identity *id, const State *now)
{
        _cleanup_free_ char *pcrs = pcrs_format(identity_pcrs(id));
        if (any_holds(id, now))
                printf("Next reboot   the gateway starts, unless something else is measured into "
                       "PCRs %s by then\n",
                       strempty(pcrs));
        else
                puts("Next reboot   the gateway does NOT start, unless the boot brings the PCRs to "
                     "what an installed policy wants");
}

int policy_print(Identity *id, Reason *reason)
{
        State s;
        int r = policy_read_state(id, &s.pcrs, &s.counter, reason);
        if (r < 0)
                return r;
        print_state(&s);
        print_policies(id, &s);
        print_next_start(id, &s);
        return 0;
}

/* ---- JSON ---- */

static json_t *values_to_json(const PcrValues *p)
{
        json_t *object = json_object();
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                char number[4], hex[2 * POLICY_DIGEST_SIZE + 1];
                if (!(p->mask & 1U << i))
                        continue;
                snprintf(number, sizeof(number), "%u", i);
                hex_encode(BYTES(p->values[i], POLICY_DIGEST_SIZE), hex);
                json_object_set_new(object, number, json_string(hex));
        }
        return object;
}

static json_t *state_to_json(const Identity *id, const State *s)
{
        json_t *policies = json_array();
        for (size_t i = 0; i < identity_n_policies(id); i++) {
                const Policy *p = identity_policy(id, i);
                char name[ID_SIZE + 1];
                name_policy(p, name);
                _cleanup_free_ char *key = p256_point_to_pem(p->operator_point);
                _cleanup_free_ char *successor =
                        p->hands_over ? p256_point_to_pem(p->successor) : NULL;
                json_array_append_new(
                        policies, json_pack("{s:s, s:s, s:I, s:s, s:s*, s:o*}", "policy", name,
                                            "state", fit_word(policy_fits(p, &s->pcrs, s->counter)),
                                            "counter-maximum", (json_int_t)p->counter_maximum,
                                            "operator-key", key, "successor", successor, "pcrs",
                                            p->hands_over ? NULL : values_to_json(&p->pcrs)));
        }
        return json_pack("{s:b, s:I, s:o, s:o}", "starts", any_holds(id, s), "counter",
                         (json_int_t)s->counter, "pcrs", values_to_json(&s->pcrs), "policies",
                         policies);
}

int policy_to_view(Identity *id, json_t **ret, Reason *reason)
{
        State s;
        int r = policy_read_state(id, &s.pcrs, &s.counter, reason);
        if (r < 0)
                return r;
        json_t *view = state_to_json(id, &s);
        if (!view)
                return reason_set(reason, -ENOMEM, "Out of memory");
        *ret = view;
        return 0;
}

int command_policy_show(const CommandContext *c, int argc, char **argv)
{
        Reason reason;
        json_t *view = NULL;
        _cleanup_(identity_freep) Identity *id = NULL;
        if (argc != 1)
                return command_usage("policy show");
        int r = machine_identity(c, &id, &reason);
        if (r == 0 && c->json && (r = policy_to_view(id, &view, &reason)) == 0)
                view_json(view);
        else if (r == 0)
                r = policy_print(id, &reason);
        json_decref(view);
        if (r == 0)
                r = identity_check(id, &reason);
        return r < 0 ? command_fail(r, &reason) : COMMAND_OK;
}

/* ---- check ---- */

static int parse_check(int argc, char **argv, GivenPcrs *given, Reason *reason)
{
        static const struct option options[] = {
                { "pcr", required_argument, NULL, 'p' },
                { "pcrs", required_argument, NULL, 'f' },
                { 0 },
        };
        int o, r = 0;
        COMMAND_OPTIONS_START();
        while (r == 0 && (o = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (o == 'p')
                        r = pcr_values_take(optarg, given, reason);
                else if (o == 'f')
                        r = pcr_values_read(optarg, given, reason);
                else
                        r = reason_set(reason, -EINVAL, "This is no option of policy check");
        }
        if (r < 0)
                return r;
        return optind == argc ? 0 : reason_set(reason, -EINVAL, "\"%s\" is too much", argv[optind]);
}

static int print_check(const CommandContext *c, const Identity *id, const State *s)
{
        json_t *view = c->json ? state_to_json(id, s) : NULL;
        if (view) {
                view_json(view);
                json_decref(view);
                return COMMAND_OK;
        }
        puts(any_holds(id, s) ? "With these PCR values the gateway starts."
                              : "With these PCR values the gateway does NOT start.");
        print_policies(id, s);
        return COMMAND_OK;
}

int command_policy_check(const CommandContext *c, int argc, char **argv)
{
        GivenPcrs given = { 0 };
        State s;
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        int r = parse_check(argc, argv, &given, &reason);
        if (r == -EINVAL)
                return command_misused(&reason);
        if (r == 0)
                r = machine_identity(c, &id, &reason);
        if (r == 0)
                r = policy_read_state(id, &s.pcrs, &s.counter, &reason);
        if (r == 0)
                r = pcr_values_put(&given, &s.pcrs, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        r = print_check(c, id, &s);
        return r == COMMAND_OK && !any_holds(id, &s) ? COMMAND_REFUSED : r;
}
