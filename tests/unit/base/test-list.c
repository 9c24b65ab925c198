/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"
#include "base/list.h"

typedef struct Item {
        int n;
        List node;
} Item;

/* The numbers of the list as decimal digits. */
static int digits(const List *head)
{
        int v = 0;
        LIST_FOREACH (i, head)
                v = v * 10 + LIST_ENTRY(i, Item, node)->n;
        return v;
}

static void order(void **state)
{
        List head = LIST_INIT(head);
        Item a = { .n = 1 }, b = { .n = 2 }, c = { .n = 3 }, d = { .n = 4 };
        assert_true(list_empty(&head));
        assert_null(list_first(&head));
        list_append(&head, &b.node);
        list_append(&head, &d.node);
        list_prepend(&head, &a.node);
        list_insert_before(&d.node, &c.node);
        assert_int_equal(digits(&head), 1234);
        assert_ptr_equal(list_first(&head), &a.node);
        list_remove(&c.node);
        assert_int_equal(digits(&head), 124);
        assert_true(list_empty(&c.node));
        list_remove(&c.node); /* harmless */
        list_append(&head, &c.node);
        assert_int_equal(digits(&head), 1243);
}

static void remove_of_zeroed_node(void **state)
{
        Item a = { 0 };
        list_remove(&a.node);
        assert_true(list_empty(&a.node));
}

static void remove_while_iterating(void **state)
{
        List head = LIST_INIT(head);
        Item items[6] = { 0 };
        for (int i = 0; i < 6; i++) {
                items[i].n = i + 1;
                list_append(&head, &items[i].node);
        }
        LIST_FOREACH_SAFE (i, &head)
                if (LIST_ENTRY(i, Item, node)->n % 2 == 0)
                        list_remove(i);
        assert_int_equal(digits(&head), 135);
}

static void splice(void **state)
{
        List to = LIST_INIT(to), from = LIST_INIT(from);
        Item items[4] = { { .n = 1 }, { .n = 2 }, { .n = 3 }, { .n = 4 } };
        list_splice(&to, &from);
        assert_true(list_empty(&to));
        for (size_t i = 0; i < 4; i++)
                list_append(i < 2 ? &to : &from, &items[i].node);
        list_splice(&to, &from);
        assert_int_equal(digits(&to), 1234);
        assert_true(list_empty(&from));
        list_remove(&items[3].node);
        list_append(&from, &items[3].node);
        assert_int_equal(digits(&to), 123);
        assert_int_equal(digits(&from), 4);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(order),
                cmocka_unit_test(remove_of_zeroed_node),
                cmocka_unit_test(remove_while_iterating),
                cmocka_unit_test(splice),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
