/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "base/siphash.h"

/* Published values for the key 00..0f and the input 00, 01, 02 ... of that length. */
static const struct {
        size_t len;
        uint64_t hash;
} vectors[] = {
        { 0, 0x726fdb47dd0e0e31 },  { 1, 0x74f839c593dc67fd },  { 7, 0xab0200f58b01d137 },
        { 8, 0x93f5f5799a932462 },  { 15, 0xa129ca6149be45e5 }, /* the worked example of the paper's
                                                                   appendix A */
        { 63, 0x958a324ceb064572 },
};

static void published_vectors(void **state)
{
        uint8_t key[SIPHASH_KEY_SIZE], in[64];
        for (uint8_t i = 0; i < sizeof in; i++)
                in[i] = i;
        memcpy(key, in, sizeof key);
        for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++)
                assert_true(siphash24(BYTES(in, vectors[i].len), key) == vectors[i].hash);
}

static void depends_on_key(void **state)
{
        uint8_t a[SIPHASH_KEY_SIZE] = { 0 }, b[SIPHASH_KEY_SIZE] = { [15] = 1 };
        assert_true(siphash24(BYTES_LITERAL("x"), a) != siphash24(BYTES_LITERAL("x"), b));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(published_vectors),
                cmocka_unit_test(depends_on_key),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
