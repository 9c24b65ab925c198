/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>

#include "../unit.h"
#include "base/log.h"
#include "base/str.h"

typedef struct Seen {
        int level;
        char message[4096];
        char device[64];
        unsigned n;
} Seen;

static void sink(int level, const LogField *fields, const char *message, void *userdata)
{
        Seen *seen = userdata;
        seen->level = level;
        seen->n++;
        snprintf(seen->message, sizeof seen->message, "%s", message);
        for (const LogField *f = fields; f && f->key; f++)
                if (streq(f->key, "DEVICE"))
                        snprintf(seen->device, sizeof seen->device, "%s", f->value);
}

static void goes_to_the_sink(void **state)
{
        Seen seen = { 0 };
        log_set_sink(sink, &seen);
        errno = EBADF;
        log_message(LOG_WARNING, LOG_FIELDS({ "DEVICE", "dev1" }), "Refused %d.", 5);
        assert_int_equal(errno, EBADF);
        assert_int_equal(seen.level, LOG_WARNING);
        assert_string_equal(seen.message, "Refused 5.");
        assert_string_equal(seen.device, "dev1");

        assert_int_equal(log_error_errno(-ENOENT, "Cannot open %s", "x"), -ENOENT);
        assert_string_equal(seen.message, "Cannot open x: No such file or directory");
        assert_int_equal(seen.level, LOG_ERR);
        log_set_sink(NULL, NULL);
}

static void levels(void **state)
{
        Seen seen = { 0 };
        log_set_sink(sink, &seen);
        log_debug("quiet");
        assert_int_equal(seen.n, 0);
        log_set_max_level(log_level_from_string("debug"));
        log_debug("heard");
        assert_int_equal(seen.n, 1);
        log_set_max_level(LOG_WARNING);
        log_info("quiet");
        assert_int_equal(log_message_errno(LOG_INFO, -EIO, NULL, "quiet"), -EIO);
        assert_int_equal(seen.n, 1);
        log_set_max_level(LOG_INFO);
        log_set_sink(NULL, NULL);

        assert_int_equal(log_level_from_string("err"), LOG_ERR);
        assert_int_equal(log_level_from_string("warning"), LOG_WARNING);
        assert_int_equal(log_level_from_string("loud"), -EINVAL);
        assert_int_equal(log_level_from_string(""), -EINVAL);
}

static void long_messages_are_cut(void **state)
{
        Seen seen = { 0 };
        log_set_sink(sink, &seen);
        log_warning("%05000d", 1);
        assert_int_equal(strlen(seen.message), 2047);
        log_warning_errno(-EIO, "%05000d", 1);
        assert_int_equal(strlen(seen.message), 2047);
        log_set_sink(NULL, NULL);
}

/* What standard error gets for one call. */
static void captured(const LogField *fields, const char *text, char *ret, size_t size)
{
        int fds[2], saved = dup(STDERR_FILENO);
        assert_int_equal(pipe(fds), 0);
        dup2(fds[1], STDERR_FILENO);
        log_message(LOG_NOTICE, fields, "%s", text);
        dup2(saved, STDERR_FILENO);
        close(saved);
        close(fds[1]);
        ssize_t n = read(fds[0], ret, size - 1);
        close(fds[0]);
        assert_true(n >= 0);
        ret[n] = '\0';
}

static void standard_error(void **state)
{
        char line[8192];
        captured(NULL, "Started.", line, sizeof line);
        assert_string_equal(line, "notice: Started.\n");
        captured(LOG_FIELDS({ "DEVICE", "dev1" }, { "PEER", NULL }, { "REASON", "two words" }),
                 "Refused.", line, sizeof line);
        assert_string_equal(line, "notice: Refused. DEVICE=dev1 REASON=\"two words\"\n");
}

static void quotes_are_escaped(void **state)
{
        char line[8192];
        captured(LOG_FIELDS({ "REASON", "component \"application\" differs" }), "x", line,
                 sizeof line);
        assert_string_equal(line, "notice: x REASON=\"component \\\"application\\\" differs\"\n");
}

static void *log_much(void *userdata)
{
        for (unsigned i = 0; i < 1000; i++)
                log_warning("from a thread");
        return NULL;
}

/* The sink counts without a lock of its own; the thread sanitizer looks on. */
static void threads_take_turns(void **state)
{
        Seen seen = { 0 };
        pthread_t threads[2];
        log_set_sink(sink, &seen);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                assert_int_equal(pthread_create(&threads[i], NULL, log_much, NULL), 0);
        for (unsigned i = 0; i < 100; i++)
                log_set_max_level(i % 2 ? LOG_INFO : LOG_NOTICE);
        for (size_t i = 0; i < ELEMENTSOF(threads); i++)
                pthread_join(threads[i], NULL);
        assert_int_equal(seen.n, 2000);
        log_set_sink(NULL, NULL);
}

/* Whatever a caller forgot to escape, a line stays a line and a terminal a terminal. */
static void standard_error_is_one_line(void **state)
{
        char line[8192];
        captured(LOG_FIELDS({ "REASON", "a\nerr: forged" }), "x\n\x1b[2J\xff", line, sizeof line);
        assert_string_equal(line, "notice: x\\x0a\\x1b[2J\\xff REASON=\"a\\x0aerr: forged\"\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(goes_to_the_sink),           cmocka_unit_test(levels),
                cmocka_unit_test(long_messages_are_cut),      cmocka_unit_test(standard_error),
                cmocka_unit_test(standard_error_is_one_line), cmocka_unit_test(quotes_are_escaped),
                cmocka_unit_test(threads_take_turns),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
