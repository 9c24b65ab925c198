/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl policy handover: the operator's key is followed by another one. */
#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "cli/command.h"
#include "cli/machine.h"
#include "cli/policy.h"
#include "platform/operator-key.h"

typedef struct HandOver {
        const char *to, *output;
        uint64_t counter;
} HandOver;

static int parse(int argc, char **argv, HandOver *h, Reason *reason)
{
        static const struct option options[] = {
                { "to", required_argument, NULL, 't' },
                { "counter", required_argument, NULL, 'c' },
                { "output", required_argument, NULL, 'o' },
                { 0 },
        };
        int o;
        COMMAND_OPTIONS_START();
        while ((o = getopt_long(argc, argv, "o:", options, NULL)) >= 0) {
                if (o == 't')
                        h->to = optarg;
                else if (o == 'o')
                        h->output = optarg;
                else if (o != 'c')
                        return reason_set(reason, -EINVAL, "This is no option of policy handover");
                else if (parse_u64(optarg, 0, INT64_MAX, &h->counter) < 0)
                        return reason_set(reason, -EINVAL, "\"%s\" is no counter value", optarg);
        }
        if (!h->to)
                return reason_set(reason, -EINVAL, "Name the operator's next key with --to KEY");
        return optind == argc ? 0 : reason_set(reason, -EINVAL, "\"%s\" is too much", argv[optind]);
}

/* Of this identity's files alone: the TPM may be in use. */
int command_policy_handover(const CommandContext *c, int argc, char **argv)
{
        HandOver h = { .counter = INT64_MAX };
        Policy p = { .hands_over = true };
        Reason reason;
        _cleanup_(identity_freep) Identity *id = NULL;
        if (parse(argc, argv, &h, &reason) < 0)
                return command_misused(&reason);
        int r = operator_key_load(h.to, p.successor, &reason);
        if (r == 0)
                r = machine_files(c, &id, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        p.counter_index = identity_counter_index(id);
        p.counter_maximum = h.counter;
        memcpy(p.operator_point, identity_present_operator(id), P256_POINT_SIZE);
        return policy_output(&p, h.output);
}
