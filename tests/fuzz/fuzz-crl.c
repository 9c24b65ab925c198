/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/crl.h"

#include <openssl/pem.h>

#include "platform/ossl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The issuer of the corpus; its key is forgotten. */
static const char authority[] = "-----BEGIN CERTIFICATE-----\n"
                                "MIIBhTCCASugAwIBAgIUfs/Jy/CdMQarUU90zOTIVAEP84EwCgYIKoZIzj0EAwIw\n"
                                "DzENMAsGA1UEAwwEZnV6ejAgFw0yNjExMjcwOTU2MjlaGA8yMTI2MTEwMzA5NTYy\n"
                                "OVowDzENMAsGA1UEAwwEZnV6ejBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABOCU\n"
                                "bZXAEhsBDRyf/kpxaxQ3rDXyn6EPNO5hXB7B0qVg7X+qpl6SWZGDhIuN8llt37KF\n"
                                "1+pLT8qXVz7pvFAJ4B+jYzBhMB0GA1UdDgQWBBR2Dcume/SAr2HwMJd5KTnnvwc9\n"
                                "JjAfBgNVHSMEGDAWgBR2Dcume/SAr2HwMJd5KTnnvwc9JjAPBgNVHRMBAf8EBTAD\n"
                                "AQH/MA4GA1UdDwEB/wQEAwIBBjAKBggqhkjOPQQDAgNIADBFAiBhVg3LEuNhN1uU\n"
                                "dCxfS5HwvIVdQQsw4RZG7rRpSw9fYgIhAJ42zl3bvT/nYQvbfcG9baHWrjj8tCsf\n"
                                "M80AWRnyXs1N\n"
                                "-----END CERTIFICATE-----\n";

static STACK_OF(X509) * authorities(void)
{
        static STACK_OF(X509) * all;
        if (all)
                return all;
        _cleanup_(BIO_freep) BIO *in = BIO_new_mem_buf(authority, -1);
        X509 *x = PEM_read_bio_X509(in, NULL, NULL, NULL);
        all = sk_X509_new_null();
        if (!x || !all || sk_X509_push(all, x) <= 0)
                abort();
        return all;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Reason reason = { "" };
        _cleanup_(crl_facts_done) CrlFacts facts = { 0 };
        _cleanup_(revoked_done) Revoked revoked = { 0 };
        int r = crl_read("file", BYTES(data, size), authorities(), size & 1, &revoked, &reason,
                         &facts);
        if (r < 0 ? !*reason.text : facts.n + facts.n_foreign == 0)
                abort();
        if (facts.n_made > facts.n || crl_goes_back(&facts, &facts))
                abort();
        if (revoked.n > revoked.room || revoked.n > size)
                abort();
        return 0;
}
