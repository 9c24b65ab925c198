/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/cmw.h"

#include "base/util.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

static void walk(Bytes in)
{
        CmwCollection c;
        CmwItem item;
        size_t n = 0;

        require(cmw_collection_open(in, &c) == CMW_OK);
        while (cmw_collection_next(&c, &item)) {
                n++;
                if (item.kind == CMW_COLLECTION)
                        walk(item.encoded);
        }
        require(n > 0 && reader_done(&c.reader));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Bytes in = BYTES(data, size);
        _cleanup_free_ void *storage = NULL;
        CmwRecord record;
        CmwKind kind;

        if (cmw_check(in, &kind) == CMW_OK) {
                if (kind == CMW_COLLECTION)
                        walk(in);
                else
                        require(cmw_record_read(in, &record) == CMW_OK);
        }
        if (cmw_json_record_read(in, &record, &storage) == CMW_OK)
                require(storage && (record.media_type.data || record.media_type.len == 0));
        return 0;
}
