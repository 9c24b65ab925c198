/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <fcntl.h>

#include "../unit.h"
#include "base/util.h"

static unsigned n_freed;

typedef struct Thing {
        int x;
} Thing;

static Thing *thing_free(Thing *t)
{
        if (t)
                n_freed++;
        free(t);
        return NULL;
}
DEFINE_CLEANUP(Thing, thing_free)

static Thing *keep(void)
{
        _cleanup_(thing_freep) Thing *t = malloc(sizeof *t);
        return TAKE_PTR(t);
}

static void drop(void)
{
        _cleanup_(thing_freep) Thing *t = malloc(sizeof *t);
        _cleanup_(thing_freep) _unused_ Thing *none = NULL;
        t->x = 1;
}

static void ownership(void **state)
{
        Thing *t = keep();
        assert_non_null(t);
        assert_int_equal(n_freed, 0);
        drop();
        assert_int_equal(n_freed, 1);
        thing_free(t);
}

static int opened(bool take, int *ret_number)
{
        _cleanup_close_ int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        *ret_number = fd;
        return take ? TAKE_FD(fd) : -1;
}

static void descriptors(void **state)
{
        int number, fd = opened(true, &number);
        assert_true(fd >= 0 && fcntl(fd, F_GETFD) >= 0);
        close(fd);
        opened(false, &number);
        assert_int_equal(fcntl(number, F_GETFD), -1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(ownership),
                cmocka_unit_test(descriptors),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
