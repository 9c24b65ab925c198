/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Reference files, unsigned and signed (by anybody). */
#include "proto/corim.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

static int believe(const void *key, int alg, Bytes message, Bytes signature, void *userdata)
{
        return 1;
}

/* Every view lies inside of what the file was copied to. */
static void require_inside(const Corim *c, Bytes b)
{
        require(!b.data || (b.data >= c->data && b.data + b.len <= c->data + c->len));
}

static void visit(const Corim *c)
{
        for (size_t i = 0; i < c->n_references; i++) {
                require_inside(c, c->references[i].environment.class_id.value);
                require(c->references[i].n_measurements > 0);
                for (size_t k = 0; k < c->references[i].n_measurements; k++) {
                        const CorimMeasurement *m = &c->references[i].measurements[k];
                        require(m->n_digests <= CORIM_DIGESTS_MAX);
                        require(m->n_signers <= CORIM_SIGNERS_MAX);
                        require_inside(c, m->name);
                        require_inside(c, m->version);
                        require_inside(c, m->registers);
                        for (size_t d = 0; d < m->n_digests; d++)
                                require_inside(c, m->digests[d].value);
                        for (size_t s = 0; s < m->n_signers; s++)
                                require_inside(c, m->signers[s]);
                }
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const CorimTrust nobody = { 0 };
        static const CorimTrust anybody = { believe, &nobody, NULL };
        const CorimTrust *trusts[] = { &nobody, &anybody };

        for (size_t i = 0; i < ELEMENTSOF(trusts); i++) {
                _cleanup_(corim_freep) Corim *c = NULL;
                int r = corim_read(BYTES(data, size), trusts[i], 1700000000 * USEC_PER_SEC, &c);
                require(r >= 0 && (r == CORIM_OK) == !!c);
                if (c)
                        visit(c);
        }
        return 0;
}
