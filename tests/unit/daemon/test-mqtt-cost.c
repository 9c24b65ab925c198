/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The MQTT server keeps within a share of the store by its own reckoning, and the store leaves that
 * share free by its own: they are the same. */

#include "../unit.h"

#include <stdlib.h>

#include "domain/mqtt-journal.h"
#include "platform/store.h"

static void a_value_costs_the_same_in_both(void **state)
{
        static uint8_t payload[20000];
        for (size_t len = 0; len < sizeof(payload); len++) {
                MqttMessage *m;
                assert_int_equal(mqtt_message_new(BYTES_LITERAL("dev1/a"), BYTES(payload, len), 1,
                                                  NULL, 0, &m),
                                 0);
                assert_int_equal(mqtt_journal_message_cost(m),
                                 store_value_cost(mqtt_message_cost(m)));
                mqtt_message_unref(m);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_value_costs_the_same_in_both),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
