/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Peer text on its way into a log line, and the strict formats. */
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

static void check_escape(Bytes in)
{
        _cleanup_free_ char *once = str_escape(in, in.len);
        require(once && utf8_valid(bytes_from_str(once)));
        for (const char *p = once; *p; p++)
                require((unsigned char)*p >= 0x20 && *p != 0x7f);
        _cleanup_free_ char *twice = str_escape(bytes_from_str(once), strlen(once));
        require(twice && streq(once, twice));
}

static void check_encodings(Bytes in, const char *text)
{
        _cleanup_free_ char *hex = malloc(2 * in.len + 1), *b64 = base64url_encode_new(in);
        _cleanup_free_ uint8_t *from_hex = NULL, *from_b64 = NULL, *other = NULL;
        size_t hex_len = 0, b64_len = 0, n = 0;
        require(hex != NULL);
        hex_encode(in, hex);
        require(hex_decode_new(hex, &from_hex, &hex_len) == 0);
        require(bytes_equal(in, BYTES(from_hex, hex_len)));
        require(b64 && base64url_decode_new(bytes_from_str(b64), &from_b64, &b64_len) == 0);
        require(bytes_equal(in, BYTES(from_b64, b64_len)));
        if (base64url_decode_new(in, &other, &n) == 0) {
                _cleanup_free_ char *again = base64url_encode_new(BYTES(other, n));
                require(again && strncmp(again, text, strlen(again)) == 0);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Bytes in = BYTES(data, size);
        _cleanup_free_ char *text = bytes_to_str(in);
        require(text != NULL);
        check_escape(in);
        check_encodings(in, text);

        usec_t t;
        uint64_t v;
        bool b;
        if (parse_usec(text, &t) == 0)
                require(t != USEC_INFINITY);
        if (parse_u64(text, 5, 1000, &v) == 0)
                require(v >= 5 && v <= 1000);
        parse_size(text, &v);
        parse_bool(text, &b);

        const char *rest = text;
        for (;;) {
                _cleanup_free_ char *word = NULL;
                int r = next_word(&rest, &word);
                if (r == 0)
                        break;
                require(r == 1 && *word);
        }
        require(*rest == '\0');
        return 0;
}
