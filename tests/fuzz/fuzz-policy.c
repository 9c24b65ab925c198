/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A policy from somebody else, on its way to the operator's signature or into force. */
#include "base/str.h"
#include "platform/tpm-policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

/* What was read says the same when it is written and read again. */
static void write_and_read(const Policy *p)
{
        Policy again;
        Reason reason;
        _cleanup_free_ char *json = policy_to_json(p);
        require(json != NULL);
        require(policy_read(bytes_from_str(json), &again, &reason) == 0);
        require(memcmp(p, &again, sizeof(again)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Policy p;
        Reason reason = { 0 };
        if (size > POLICY_FILE_MAX)
                return 0;
        if (policy_read(BYTES(data, size), &p, &reason) < 0) {
                _cleanup_free_ char *shown =
                        str_escape(bytes_from_str(reason.text), sizeof(reason.text));
                require(shown && *shown && streq(shown, reason.text));
                return 0;
        }
        require(p.pcrs.mask != 0 && p.pcrs.mask >> POLICY_PCR_COUNT == 0);
        require(p.counter_index >> 24 == 0x01 && p.counter_maximum <= INT64_MAX);
        write_and_read(&p);
        require(policy_verify(&p, &reason) == 0 || *reason.text);
        return 0;
}
