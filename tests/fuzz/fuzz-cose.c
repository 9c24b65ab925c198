/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A device's report on its way to the verdict, with a verifier that believes everything. */
#include "base/util.h"
#include "domain/appraisal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

static int believe(const void *key, int alg, Bytes message, Bytes signature, void *userdata)
{
        require(message.len > 0 && signature.len > 0);
        return 1;
}

static void appraise(const PsaEvidence *e)
{
        const Enrolment enrolment = { .instance_id = e->claims.instance_id,
                                      .key = &enrolment,
                                      .verify = believe };
        Verdict v;

        require(e->claims.nonce.len >= 32 && e->claims.nonce.len <= 64);
        require(e->claims.n_components <= PSA_COMPONENTS_MAX);
        require(appraisal_psa(e, &enrolment, NULL, 0, &v) == 0);
        require(v.tier == AR4SI_CONTRAINDICATED && v.authentic); /* no reference values */
        require(memchr(v.reason, '\0', sizeof(v.reason)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Bytes in = BYTES(data, size);
        const char *reason = NULL;
        PsaEvidence e;
        PsaClaims claims;
        CoseSign1 s;

        if (psa_evidence_read(in, &e, &reason))
                appraise(&e);
        else
                require(reason);
        if (cose_sign1_read(in, COSE_UNTAGGED, &s) == COSE_OK) {
                for (size_t i = 0; cose_x5chain_at(&s, i).len > 0; i++)
                        require(i < size);
                require(cose_sign1_verify(&s, in, believe, NULL, NULL) == 1);
        }
        (void)eat_psa_read(in, &claims);
        return 0;
}
