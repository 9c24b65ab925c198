/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "../unit.h"

#include "daemon/uplink-caution.h"

#define S    USEC_PER_SEC
#define WAIT (10 * S)

static Caution caution;
static Window window;
static usec_t now;

static int setup(void **state)
{
        caution_init(&caution, WAIT);
        window_init(&window);
        now = 1000 * S;
        return 0;
}

static int teardown(void **state)
{
        caution_done(&caution);
        window_clear(&window);
        return 0;
}

static void send(uint64_t id)
{
        caution_sent(&caution);
        assert_int_equal(window_add(&window, (int)id, id, 1, "d1"), 0);
}

static void take(uint64_t id)
{
        window_forget(&window, id);
        caution_taken(&caution, id, now);
}

/* A new connection follows. */
static CautionVerdict end(MqttEnd how)
{
        CautionVerdict verdict = caution_ended(&caution, &window, how, now);
        window_clear(&window);
        caution_connected(&caution, now);
        return verdict;
}

static void one_at_a_time(void **state)
{
        caution_connected(&caution, now);
        for (uint64_t id = 1; id <= 3; id++)
                send(id);
        take(1);
        assert_int_equal(end(MQTT_END_BROKER), CAUTION_NOTHING);
        assert_true(caution_alone(&caution));
        assert_int_equal(caution_trial(&caution, now), 0);
        send(9); /* a report that came in later does not count */
        take(9);
        assert_true(caution_alone(&caution));
        send(2);
        take(2);
        send(3);
        caution_passed(&caution, 3);
        assert_false(caution_alone(&caution));
}

/* A network that fails with a full window is no reason to slow down; that nothing was taken is. */
static void network(void **state)
{
        caution_connected(&caution, now);
        send(1), send(2), send(3);
        take(1);
        assert_int_equal(end(MQTT_END_LINK), CAUTION_NOTHING);
        assert_false(caution_alone(&caution));
        send(2), send(3);
        assert_int_equal(end(MQTT_END_LINK), CAUTION_NOTHING);
        assert_true(caution_alone(&caution));
        caution_idle(&caution);
        assert_false(caution_alone(&caution));
}

/* Not the first of its connection: a router that forgets silent connections does the same. */
static void second_chance(void **state)
{
        caution_connected(&caution, now);
        send(1);
        take(1);
        send(2);
        assert_int_equal(end(MQTT_END_BROKER), CAUTION_NOTHING);
        assert_int_equal(caution_trial(&caution, now), 2);
        assert_true(caution_alone(&caution));
        assert_int_equal(caution_count(&caution), 0);
        send(2);
        take(2);
        assert_false(caution_alone(&caution));
}

static void dropped(void **state)
{
        caution_connected(&caution, now);
        for (unsigned i = 1;; i++) {
                send(7);
                CautionVerdict verdict = end(MQTT_END_BROKER);
                if (i == SUSPECT_STRIKES) {
                        assert_int_equal(verdict, CAUTION_DROP);
                        break;
                }
                assert_int_equal(verdict, CAUTION_ASIDE);
                assert_true(caution_keeps(&caution, 7));
                assert_false(caution_alone(&caution));
                send(100 + i);
                take(100 + i);
                /* Due, but on this connection it is not the first. */
                now = caution_next(&caution);
                assert_int_equal(caution_trial(&caution, now), 7);
                assert_int_equal(caution_next(&caution), USEC_INFINITY);
                send(7);
                assert_int_equal(end(MQTT_END_BROKER), CAUTION_NOTHING);
                assert_int_equal(caution_trial(&caution, now), 7);
        }
        assert_int_equal(caution_count(&caution), 0);
        assert_false(caution_alone(&caution));
}

/* A new connection belongs to the others for a while, however many suspects are due. */
static void others_first(void **state)
{
        caution_connected(&caution, now);
        send(1);
        assert_int_equal(end(MQTT_END_BROKER), CAUTION_ASIDE);
        now += 2 * WAIT;
        send(2);
        assert_int_equal(end(MQTT_END_BROKER), CAUTION_ASIDE);
        assert_int_equal(caution_trial(&caution, now), 0);
        assert_int_equal(caution_next(&caution), now + WAIT);
        assert_int_equal(caution_trial(&caution, now + WAIT), 1);
        caution_passed(&caution, 1); /* gone from the store */
        assert_int_equal(caution_count(&caution), 1);
}

static void network_alone(void **state)
{
        caution_connected(&caution, now);
        send(1);
        assert_int_equal(end(MQTT_END_LINK), CAUTION_NOTHING);
        assert_int_equal(caution_trial(&caution, now), 1);
        send(1);
        assert_int_equal(end(MQTT_END_LINK), CAUTION_ASIDE);
        assert_int_equal(caution_trial(&caution, now), 0);
}

static void denied(void **state)
{
        caution_connected(&caution, now);
        send(1), send(2);
        assert_int_equal(end(MQTT_END_DENIED), CAUTION_NOTHING);
        send(1);
        assert_int_equal(end(MQTT_END_DENIED), CAUTION_HOLD);
        assert_int_equal(caution_count(&caution), 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        const struct CMUnitTest tests[] = {
                TEST(one_at_a_time), TEST(network),       TEST(second_chance), TEST(dropped),
                TEST(others_first),  TEST(network_alone), TEST(denied),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
