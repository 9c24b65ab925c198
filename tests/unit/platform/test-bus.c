/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Both ends of the D-Bus interface over a real dbus-daemon of the test's own. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/str.h"
#include "platform/bus.h"

static char directory[] = "/tmp/sallyport-bus-XXXXXX";
static pid_t daemon_pid, server_pid;

static const char configuration[] =
        "<!DOCTYPE busconfig PUBLIC \"-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN\"\n"
        " \"http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd\">\n"
        "<busconfig><type>system</type><listen>unix:path=%s/bus</listen>\n"
        "<auth>EXTERNAL</auth><policy context=\"default\"><allow user=\"*\"/>\n"
        "<allow own=\"*\"/><allow send_destination=\"*\"/><allow eavesdrop=\"false\"/>\n"
        "<allow receive_sender=\"*\"/></policy></busconfig>\n";

static int echo(const char *const *args, json_t **ret, const char **ret_message, void *userdata)
{
        *ret = json_pack("{s:s, s:s, s:I, s:b, s:f, s:[{s:s}], s:[], s:{s:i}, s:n}", "first",
                         args[0], "second", args[1], "big", (json_int_t)INT64_MAX, "yes", 1, "half",
                         0.5, "list", "name", "dev1", "nothing", "inner", "n", -3, "absent");
        return *ret ? 0 : -ENOMEM;
}

static int objects(const char *const *args, json_t **ret, const char **ret_message, void *userdata)
{
        *ret = json_pack("[{s:s}, {s:i}]", "a", "b", "c", 1);
        return *ret ? 0 : -ENOMEM;
}

static int refuse(const char *const *args, json_t **ret, const char **ret_message, void *userdata)
{
        *ret_message = "there is no such device";
        return -ENOENT;
}

/* Two calls are answered by a timer, the first by a refusal. */
static BusCall *calls[2];

static int answer(void *userdata)
{
        BusCall *first = TAKE_PTR(calls[0]);
        bus_answer(first, -EAGAIN, "it is not the time");
        if (calls[1])
                bus_answer(TAKE_PTR(calls[1]), 0, NULL);
        return 0;
}

static void later(BusCall *call, void *userdata)
{
        static LoopSource *timer;
        Loop *loop = userdata;
        calls[calls[0] ? 1 : 0] = call;
        if (!timer && loop_add_timer(loop, &timer, 0, answer, NULL) < 0)
                _exit(1);
        loop_timer_arm_relative(timer, 300 * USEC_PER_MSEC);
}

static const BusMethod methods[] = {
        { "Echo", 2, "first\0second\0result\0", BUS_RESULT_OBJECT, echo },
        { "Objects", 0, "result\0", BUS_RESULT_OBJECTS, objects },
        { "Refuse", 0, "", BUS_RESULT_NOTHING, refuse },
        { "Later", 0, "", BUS_RESULT_NOTHING, NULL, later },
        { NULL },
};
static const BusSignal signals[] = { { "Changed", 1, "device\0" }, { NULL } };

static int settled_fds[2];

static void settled(void *userdata)
{
        (void)!write(settled_fds[1], "s", 1);
}

static void serve(void)
{
        Loop *loop;
        Bus *bus;
        if (loop_new(&loop) < 0 || bus_serve(loop, methods, signals, settled, loop, &bus) < 0)
                _exit(1);
        _exit(loop_run(loop) < 0);
}

static bool has_settled(int timeout_ms)
{
        struct pollfd p = { .fd = settled_fds[0], .events = POLLIN };
        char c;
        return poll(&p, 1, timeout_ms) == 1 && read(settled_fds[0], &c, 1) == 1;
}

static pid_t child(void (*run)(void))
{
        pid_t pid = fork();
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                run();
                _exit(127);
        }
        return pid;
}

static void run_daemon(void)
{
        char option[128];
        snprintf(option, sizeof(option), "--config-file=%s/conf", directory);
        execlp("dbus-daemon", "dbus-daemon", option, "--nofork", "--nopidfile", (char *)NULL);
}

static int setup(void **state)
{
        char path[128];
        assert_non_null(mkdtemp(directory));
        snprintf(path, sizeof(path), "%s/conf", directory);
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        fprintf(f, configuration, directory);
        fclose(f);
        snprintf(path, sizeof(path), "unix:path=%s/bus", directory);
        setenv("DBUS_SYSTEM_BUS_ADDRESS", path, 1);
        daemon_pid = child(run_daemon);
        for (int i = 0; i < 200 && access(path + strlen("unix:path="), F_OK) < 0; i++)
                usleep(10000);
        assert_return_code(pipe2(settled_fds, O_CLOEXEC), errno);
        server_pid = child(serve);
        return has_settled(20000) ? 0 : -1;
}

static int teardown(void **state)
{
        char path[128];
        kill(server_pid, SIGKILL);
        kill(daemon_pid, SIGKILL);
        waitpid(server_pid, NULL, 0);
        waitpid(daemon_pid, NULL, 0);
        snprintf(path, sizeof(path), "%s/conf", directory);
        unlink(path);
        snprintf(path, sizeof(path), "%s/bus", directory);
        unlink(path);
        return rmdir(directory);
}

static void test_object(void **state)
{
        const char *args[] = { "dev1", "with \"quotes\" and \xc3\xa9" };
        json_t *got = NULL;
        char *why = NULL;
        assert_int_equal(bus_call("Echo", args, 2, &got, &why), 0);
        assert_string_equal(json_string_value(json_object_get(got, "first")), "dev1");
        assert_string_equal(json_string_value(json_object_get(got, "second")), args[1]);
        assert_true(json_integer_value(json_object_get(got, "big")) == INT64_MAX);
        assert_true(json_is_true(json_object_get(got, "yes")));
        assert_true(json_real_value(json_object_get(got, "half")) > 0.49);
        json_t *list = json_object_get(got, "list");
        assert_int_equal(json_array_size(list), 1);
        assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "name")),
                            "dev1");
        assert_int_equal(json_array_size(json_object_get(got, "nothing")), 0);
        assert_int_equal(json_integer_value(json_object_get(json_object_get(got, "inner"), "n")),
                         -3);
        assert_null(json_object_get(got, "absent"));
        json_decref(got);
}

static void test_objects(void **state)
{
        json_t *got = NULL;
        char *why = NULL;
        assert_int_equal(bus_call("Objects", NULL, 0, &got, &why), 0);
        assert_int_equal(json_array_size(got), 2);
        json_decref(got);
}

static void test_error_reaches_the_caller_as_a_sentence(void **state)
{
        char *why = NULL;
        assert_true(bus_call("Refuse", NULL, 0, NULL, &why) < 0);
        assert_string_equal(why, "there is no such device");
        free(why);
}

static void call_later(void)
{
        char *why = NULL;
        int r = bus_call("Later", NULL, 0, NULL, &why);
        _exit(r == 0 ? 0 : streq(why, "it is not the time") ? 1 : 2);
}

/* The others are served meanwhile, and each hears what is for him. */
static void test_answers_later(void **state)
{
        char *why = NULL;
        int status, succeeded = 0, refused = 0;
        pid_t pids[2] = { child(call_later), child(call_later) };
        assert_int_equal(bus_call("Objects", NULL, 0, NULL, &why), 0);
        for (size_t i = 0; i < 2; i++) {
                assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
                succeeded += WIFEXITED(status) && WEXITSTATUS(status) == 0;
                refused += WIFEXITED(status) && WEXITSTATUS(status) == 1;
        }
        assert_int_equal(succeeded, 1);
        assert_int_equal(refused, 1);
}

static void test_caller_goes_away(void **state)
{
        char *why = NULL;
        pid_t pid = child(call_later);
        poll(NULL, 0, 100);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        poll(NULL, 0, 400);
        assert_int_equal(bus_call("Objects", NULL, 0, NULL, &why), 0);
}

static void test_wrong_arguments_are_refused(void **state)
{
        char *why = NULL;
        const char *args[] = { "one" };
        assert_true(bus_call("Echo", args, 1, NULL, &why) < 0);
        free(why);
}

static void test_settles_without_a_bus_too(void **state)
{
        char *bus = strdup(getenv("DBUS_SYSTEM_BUS_ADDRESS"));
        setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere", 1);
        pid_t pid = child(serve);
        bool once = has_settled(20000), twice = has_settled(200);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        setenv("DBUS_SYSTEM_BUS_ADDRESS", bus, 1);
        free(bus);
        assert_true(once);
        assert_false(twice);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_object),
                cmocka_unit_test(test_objects),
                cmocka_unit_test(test_error_reaches_the_caller_as_a_sentence),
                cmocka_unit_test(test_answers_later),
                cmocka_unit_test(test_caller_goes_away),
                cmocka_unit_test(test_wrong_arguments_are_refused),
                cmocka_unit_test(test_settles_without_a_bus_too),
        };
        return cmocka_run_group_tests(tests, setup, teardown);
}
