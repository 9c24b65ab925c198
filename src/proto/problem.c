/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/problem.h"

#include "proto/cbor-writer.h"

/* Section 2. */
#define TITLE         (-1)
#define DETAIL        (-2)
#define RESPONSE_CODE (-4)

int problem_write(const Problem *p, Buf *ret)
{
        CborWriter w = cbor_writer(ret);
        cbor_put_map(&w, 1U + (p->detail != NULL) + (p->code != 0));
        cbor_put_int(&w, TITLE);
        cbor_put_str(&w, p->title);
        if (p->detail) {
                cbor_put_int(&w, DETAIL);
                cbor_put_str(&w, p->detail);
        }
        if (p->code) {
                cbor_put_int(&w, RESPONSE_CODE);
                cbor_put_uint(&w, p->code);
        }
        return w.error;
}
