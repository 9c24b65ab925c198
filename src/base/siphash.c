/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/siphash.h"

#include <endian.h>

typedef struct State {
        uint64_t v0, v1, v2, v3;
} State;

static uint64_t rotl(uint64_t x, unsigned n)
{
        return x << n | x >> (64 - n);
}

static uint64_t load_le64(const uint8_t *p)
{
        uint64_t v;
        memcpy(&v, p, sizeof v);
        return le64toh(v);
}

static void rounds(State *s, unsigned n)
{
        while (n-- > 0) {
                s->v0 += s->v1;
                s->v2 += s->v3;
                s->v1 = rotl(s->v1, 13) ^ s->v0;
                s->v3 = rotl(s->v3, 16) ^ s->v2;
                s->v0 = rotl(s->v0, 32);
                s->v2 += s->v1;
                s->v0 += s->v3;
                s->v1 = rotl(s->v1, 17) ^ s->v2;
                s->v3 = rotl(s->v3, 21) ^ s->v0;
                s->v2 = rotl(s->v2, 32);
        }
}

static void compress(State *s, uint64_t m)
{
        s->v3 ^= m;
        rounds(s, 2);
        s->v0 ^= m;
}

uint64_t siphash24(Bytes in, const uint8_t key[static SIPHASH_KEY_SIZE])
{
        uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
        State s = {
                k0 ^ 0x736f6d6570736575,
                k1 ^ 0x646f72616e646f6d,
                k0 ^ 0x6c7967656e657261,
                k1 ^ 0x7465646279746573,
        };

        size_t i = 0;
        for (; in.len - i >= 8; i += 8)
                compress(&s, load_le64(in.data + i));

        /* The last block: what is left, and the length in its top byte. */
        uint64_t last = (uint64_t)in.len << 56;
        for (unsigned shift = 0; i < in.len; i++, shift += 8)
                last |= (uint64_t)in.data[i] << shift;
        compress(&s, last);

        s.v2 ^= 0xff;
        rounds(&s, 4);
        return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
