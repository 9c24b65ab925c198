/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "domain/replay.h"

#define S USEC_PER_SEC

static const uint8_t one[REPLAY_DIGEST] = { 1 }, two[REPLAY_DIGEST] = { 2 };

static int keep(Replays *r, const char *peer, const uint8_t *digest, const char *result,
                usec_t until)
{
        ReplayAnswer a = { .outcome = 7, .posture = POSTURE_WARNING, .reason = "why" };
        a.result = bytes_from_str(result);
        return replays_keep(r, peer, digest, &a, 100 * S, until);
}

static void the_last_one_of_each(void **state)
{
        _cleanup_(replays_freep) Replays *r = NULL;
        char result[] = "result";
        assert_int_equal(replays_new(&r), 0);
        assert_null(replays_find(r, "dev1", one, 100 * S));
        assert_int_equal(keep(r, "dev1", one, result, USEC_INFINITY), 0);
        memset(result, 'x', sizeof(result) - 1); /* it is a copy */
        const ReplayAnswer *a = replays_find(r, "dev1", one, 101 * S);
        assert_non_null(a);
        assert_int_equal(a->outcome, 7);
        assert_int_equal(a->posture, POSTURE_WARNING);
        assert_string_equal(a->reason, "why");
        assert_true(bytes_equal(a->result, BYTES_LITERAL("result")));
        assert_null(replays_find(r, "dev2", one, 101 * S));
        assert_null(replays_find(r, "dev1", two, 101 * S));

        assert_int_equal(keep(r, "dev2", one, "", USEC_INFINITY), 0);
        assert_int_equal(keep(r, "dev1", two, "other", USEC_INFINITY), 0);
        assert_null(replays_find(r, "dev1", one, 101 * S));
        assert_non_null(replays_find(r, "dev1", two, 101 * S));
        assert_int_equal(replays_find(r, "dev2", one, 101 * S)->result.len, 0);
        replays_forget(r, "dev1");
        replays_forget(r, "dev1");
        assert_null(replays_find(r, "dev1", two, 101 * S));
        assert_non_null(replays_find(r, "dev2", one, 101 * S));
}

static void not_for_long(void **state)
{
        _cleanup_(replays_freep) Replays *r = NULL;
        assert_int_equal(replays_new(&r), 0);
        assert_int_equal(keep(r, "dev1", one, "", USEC_INFINITY), 0);
        assert_non_null(replays_find(r, "dev1", one, 347 * S - 1));
        assert_null(replays_find(r, "dev1", one, 347 * S));
        assert_int_equal(keep(r, "dev1", one, "", 105 * S), 0);
        assert_non_null(replays_find(r, "dev1", one, 105 * S - 1));
        assert_null(replays_find(r, "dev1", one, 105 * S));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(the_last_one_of_each),
                cmocka_unit_test(not_for_long),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
