/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/util.h"
#include "platform/est-message.h"
#include "platform/ossl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

static void read_all(Bytes body)
{
        Reason reason = { "" };
        _cleanup_(x509_stack_freep) STACK_OF(X509) *list = NULL;
        _cleanup_est_attributes_ EstAttributes a = { 0 };
        if (est_read_certificates(body, &list, &reason))
                require(sk_X509_num(list) > 0 && sk_X509_num(list) <= EST_CERTIFICATES_MAX);
        else
                require(!list && reason.text[0]);
        if (est_read_attributes(body, &a, &reason) && a.extensions)
                require(sk_X509_EXTENSION_num(a.extensions) <= EST_EXTENSIONS_MAX);
}

/* As base64, and as what is in base64. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_free_ char *text = est_encode(BYTES(data, size));
        _cleanup_free_ uint8_t *again = NULL;
        size_t len;
        require(text);
        require(size == 0 || (est_decode(bytes_from_str(text), &again, &len) &&
                              bytes_equal(BYTES(again, len), BYTES(data, size))));
        read_all(bytes_from_str(text));
        read_all(BYTES(data, size));
        return 0;
}
