/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Marks on the disk, dated by a counter of a real (software) TPM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <tss2/tss2_tpm2_types.h>
#include <unistd.h>

#include "base/str.h"
#include "platform/anchor.h"
#include "platform/fiber.h"
#include "platform/file.h"
#include "swtpm.h"

static const char *path(Lab *lab)
{
        return lab_path(lab, "anchor.json");
}

static void open_both(Lab *lab, const char *tcti, Identity **ret_id, Anchor **ret)
{
        Reason reason = { 0 };
        if (identity_open(tcti, lab->state, ret_id, &reason) < 0 ||
            anchor_new(*ret_id, NULL, path(lab), ret, &reason) < 0)
                fail_msg("%s", reason.text);
}

static void write_marks(Anchor *a, uint64_t value)
{
        Reason reason = { 0 };
        AnchorMarks m = { 0 };
        assert_int_equal(anchor_mark(&m, "value", value), 0);
        assert_int_equal(anchor_mark(&m, "largest", UINT64_MAX), 0);
        if (anchor_write(a, &m, &reason) < 0)
                fail_msg("%s", reason.text);
}

static AnchorState read_marks(Anchor *a, uint64_t *ret)
{
        Reason reason = { 0 };
        AnchorMarks m;
        AnchorState state;
        if (anchor_read(a, &state, &m, &reason) < 0)
                fail_msg("%s", reason.text);
        const AnchorMark *mark = anchor_find(&m, "value");
        *ret = mark ? mark->value : 0;
        if (mark)
                assert_int_equal(anchor_find(&m, "largest")->value, UINT64_MAX);
        return state;
}

static char *keep(Lab *lab)
{
        uint8_t *text;
        size_t len;
        assert_int_equal(file_read(path(lab), 10000, &text, &len), 0);
        return (char *)text;
}

static void put_back(Lab *lab, const char *text)
{
        assert_int_equal(file_write_atomic(path(lab), bytes_from_str(text), 0600), 0);
}

static void test_names(void **state)
{
        AnchorMarks m = { 0 };
        assert_int_equal(anchor_mark(&m, "one", 1), 0);
        assert_int_equal(anchor_mark(&m, "one", 2), -EEXIST);
        assert_int_equal(anchor_mark(&m, "", 1), -EINVAL);
        assert_int_equal(anchor_mark(&m, "a=b", 1), -EINVAL);
        assert_int_equal(anchor_mark(&m, "a\nb", 1), -EINVAL);
        assert_int_equal(anchor_mark(&m, "12345678901234567890123456789012", 1), -EINVAL);
        for (unsigned i = 1; i < ANCHOR_MARKS_MAX; i++) {
                char name[8];
                snprintf(name, sizeof(name), "n%u", i);
                assert_int_equal(anchor_mark(&m, name, i), 0);
        }
        assert_int_equal(anchor_mark(&m, "more", 1), -ENOSPC);
        assert_null(anchor_find(&m, "more"));
}

static void test_states(void **state)
{
        Lab *lab = *state;
        Identity *id = NULL;
        Anchor *a = NULL;
        uint64_t value;
        lab_create_identity(lab, true);
        open_both(lab, lab->tcti, &id, &a);
        assert_int_equal(read_marks(a, &value), ANCHOR_NEW);
        write_marks(a, 1);
        assert_int_equal(read_marks(a, &value), ANCHOR_CURRENT);
        assert_int_equal(value, 1);
        _cleanup_free_ char *first = keep(lab);
        write_marks(a, 2);
        assert_int_equal(read_marks(a, &value), ANCHOR_CURRENT);
        assert_int_equal(value, 2);
        anchor_free(a);
        identity_free(id);

        open_both(lab, lab->tcti, &id, &a);
        _cleanup_free_ char *second = keep(lab);
        put_back(lab, first);
        assert_int_equal(read_marks(a, &value), ANCHOR_OLDER);
        assert_int_equal(value, 1);
        put_back(lab, second);
        assert_int_equal(read_marks(a, &value), ANCHOR_CURRENT);
        remove(path(lab));
        assert_int_equal(read_marks(a, &value), ANCHOR_MISSING);
        put_back(lab, second);
        /* Every bit of it counts: what is not the same text is refused, or says the same. */
        for (size_t i = 0; second[i]; i++) {
                _cleanup_free_ char *changed = strdup(second);
                changed[i] ^= 1;
                put_back(lab, changed);
                AnchorState found = read_marks(a, &value);
                if (found != ANCHOR_FORGED)
                        assert_true(found == ANCHOR_CURRENT && value == 2);
        }
        put_back(lab, "{}");
        assert_int_equal(read_marks(a, &value), ANCHOR_FORGED);
        /* What cannot be read is not what was written either. */
        remove(path(lab));
        assert_int_equal(symlink(path(lab), path(lab)), 0);
        assert_int_equal(read_marks(a, &value), ANCHOR_FORGED);
        remove(path(lab));
        anchor_free(a);
        identity_free(id);

        /* Of another identity on the same TPM. */
        put_back(lab, second);
        lab_create_identity(lab, true);
        open_both(lab, lab->tcti, &id, &a);
        assert_int_equal(read_marks(a, &value), ANCHOR_FORGED);
        write_marks(a, 7);
        assert_int_equal(read_marks(a, &value), ANCHOR_CURRENT);
        anchor_free(a);
        identity_free(id);
}

static void spoil_increment(uint8_t *message, size_t len, uint32_t code, bool answer)
{
        if (code == TPM2_CC_NV_Increment && !answer)
                message[len - 1] ^= 1;
}

/* The file is on disk, and the counter did not follow. */
static void test_crash_in_between(void **state)
{
        Lab *lab = *state;
        Identity *id = NULL;
        Anchor *a = NULL;
        Reason reason;
        AnchorMarks m = { 0 };
        uint64_t value;
        lab_create_identity(lab, true);
        lab_start_interposer(lab, spoil_increment);
        open_both(lab, lab->slow_tcti, &id, &a);
        assert_int_equal(anchor_mark(&m, "value", 5), 0);
        assert_int_equal(anchor_mark(&m, "largest", UINT64_MAX), 0);
        assert_true(anchor_write(a, &m, &reason) < 0);
        assert_int_equal(read_marks(a, &value), ANCHOR_CURRENT);
        assert_int_equal(value, 5);
        _cleanup_free_ char *undated = keep(lab);
        anchor_free(a);
        identity_free(id);
        open_both(lab, lab->tcti, &id, &a);
        write_marks(a, 6);
        assert_int_equal(read_marks(a, &value), ANCHOR_CURRENT);
        assert_int_equal(value, 6);
        put_back(lab, undated);
        assert_int_equal(read_marks(a, &value), ANCHOR_OLDER);
        anchor_free(a);
        identity_free(id);
}

typedef struct OnLoop {
        Loop *loop;
        Anchor *anchor;
        int outcome;
} OnLoop;

static void write_on_fiber(void *userdata)
{
        OnLoop *o = userdata;
        Reason reason;
        AnchorMarks m = { 0 };
        anchor_mark(&m, "value", 9);
        anchor_mark(&m, "largest", UINT64_MAX);
        o->outcome = anchor_write(o->anchor, &m, &reason);
        loop_exit(o->loop, 0);
}

static void test_on_a_fiber(void **state)
{
        Lab *lab = *state;
        Identity *id = NULL;
        Reason reason;
        uint64_t value;
        OnLoop o = { .outcome = 1 };
        lab_create_identity(lab, true);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), 0);
        assert_int_equal(loop_new(&o.loop), 0);
        assert_int_equal(identity_attach(id, o.loop), 0);
        assert_int_equal(anchor_new(id, o.loop, path(lab), &o.anchor, &reason), 0);
        assert_int_equal(fiber_spawn(write_on_fiber, &o), 0);
        assert_int_equal(o.outcome, 1); /* it waits, and we go on */
        assert_int_equal(loop_run(o.loop), 0);
        assert_int_equal(o.outcome, 0);
        assert_int_equal(read_marks(o.anchor, &value), ANCHOR_CURRENT);
        assert_int_equal(value, 9);
        anchor_free(o.anchor);
        identity_free(id);
        loop_free(o.loop);
}

/* Without the policy there is no key, and so nothing can be forged. */
static void test_locked(void **state)
{
        Lab *lab = *state;
        Identity *id = NULL;
        Anchor *a = NULL;
        Reason reason;
        lab_create_identity(lab, false);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), 0);
        assert_int_equal(anchor_new(id, NULL, path(lab), &a, &reason), -ENOKEY);
        identity_free(id);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_names),      cmocka_unit_test(test_states),
                cmocka_unit_test(test_on_a_fiber), cmocka_unit_test(test_crash_in_between),
                cmocka_unit_test(test_locked),
        };
        return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
