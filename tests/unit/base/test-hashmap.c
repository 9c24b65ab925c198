/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <stdio.h>

#include "../unit.h"
#include "base/hashmap.h"

#define N 5000

typedef struct Item {
        char key[16];
        unsigned visits;
} Item;

static Item items[N];

static Bytes key_of(size_t i)
{
        snprintf(items[i].key, sizeof items[i].key, "key-%zu", i);
        return bytes_from_str(items[i].key);
}

static Hashmap *filled(void)
{
        Hashmap *m = hashmap_new();
        assert_non_null(m);
        for (size_t i = 0; i < N; i++) {
                items[i].visits = 0;
                assert_int_equal(hashmap_put(m, key_of(i), &items[i]), 0);
        }
        return m;
}

static void empty(void **state)
{
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new();
        assert_null(hashmap_get(m, BYTES_LITERAL("x")));
        assert_null(hashmap_remove(m, BYTES_LITERAL("x")));
        assert_int_equal(hashmap_size(m), 0);
        HASHMAP_FOREACH (i, m)
                fail();
        assert_null(hashmap_free(NULL));
}

static void put_get_remove(void **state)
{
        _cleanup_(hashmap_freep) Hashmap *m = filled();
        assert_int_equal(hashmap_size(m), N);
        for (size_t i = 0; i < N; i++)
                assert_ptr_equal(hashmap_get(m, key_of(i)), &items[i]);
        for (size_t i = 0; i < N; i += 2)
                assert_ptr_equal(hashmap_remove(m, key_of(i)), &items[i]);
        assert_int_equal(hashmap_size(m), N / 2);
        for (size_t i = 0; i < N; i++)
                assert_ptr_equal(hashmap_get(m, key_of(i)), i % 2 ? &items[i] : NULL);
}

static void one_value_a_key(void **state)
{
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new();
        int a, b;
        assert_int_equal(hashmap_put(m, BYTES_LITERAL("k"), &a), 0);
        assert_int_equal(hashmap_put(m, BYTES_LITERAL("k"), &b), -EEXIST);
        assert_ptr_equal(hashmap_get(m, BYTES_LITERAL("k")), &a);
        assert_int_equal(hashmap_put(m, BYTES_LITERAL("n"), NULL), -EINVAL);
        assert_int_equal(hashmap_size(m), 1);
}

static void keys_are_bytes(void **state)
{
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new();
        int a, b, c;
        assert_int_equal(hashmap_put(m, BYTES("a\0b", 3), &a), 0);
        assert_int_equal(hashmap_put(m, BYTES("a\0c", 3), &b), 0);
        assert_int_equal(hashmap_put(m, BYTES(NULL, 0), &c), 0);
        assert_ptr_equal(hashmap_get(m, BYTES("a\0b", 3)), &a);
        assert_ptr_equal(hashmap_get(m, BYTES("a\0c", 3)), &b);
        assert_ptr_equal(hashmap_get(m, BYTES("", 0)), &c);
        assert_null(hashmap_get(m, BYTES("a", 1)));
}

static void iteration_visits_each_once(void **state)
{
        _cleanup_(hashmap_freep) Hashmap *m = filled();
        HASHMAP_FOREACH (i, m) {
                Item *item = i.value;
                assert_true(bytes_equal(i.key, bytes_from_str(item->key)));
                item->visits++;
                if ((item - items) % 3 == 0)
                        assert_ptr_equal(hashmap_remove(m, i.key), item);
        }
        for (size_t i = 0; i < N; i++) {
                assert_int_equal(items[i].visits, 1);
                assert_ptr_equal(hashmap_get(m, key_of(i)), i % 3 ? &items[i] : NULL);
        }
}

/* Names come and go for ever: the table must not fill up with what was removed. */
static void churn(void **state)
{
        _cleanup_(hashmap_freep) Hashmap *m = hashmap_new();
        for (size_t round = 0; round < 200000; round++) {
                size_t i = round % N;
                if (round >= 10)
                        assert_non_null(hashmap_remove(m, key_of((round - 10) % N)));
                assert_int_equal(hashmap_put(m, key_of(i), &items[i]), 0);
        }
        assert_int_equal(hashmap_size(m), 10);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(empty),
                cmocka_unit_test(put_get_remove),
                cmocka_unit_test(one_value_a_key),
                cmocka_unit_test(keys_are_bytes),
                cmocka_unit_test(iteration_visits_each_once),
                cmocka_unit_test(churn),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
