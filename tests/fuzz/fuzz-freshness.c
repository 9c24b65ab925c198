/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/freshness.h"

#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As CBOR and as JSON: no message is both, and what is refused leaves the length alone. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        uint64_t cbor = 32, json = 32;
        bool is_cbor = freshness_request_read(FRESHNESS_CBOR, BYTES(data, size), &cbor);
        bool is_json = freshness_request_read(FRESHNESS_JSON, BYTES(data, size), &json);
        if ((is_cbor && is_json) || (!is_cbor && cbor != 32) || (!is_json && json != 32))
                abort();
        return 0;
}
