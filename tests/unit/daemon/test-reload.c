/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <netinet/in.h>

#include "../unit.h"
#include "base/str.h"
#include "daemon/reload.h"

static void key_that_changed(void **state)
{
        char *words[] = { (char *)"gw", NULL };
        ListenAddress address = { 0 }, other_address = { 0 };
        ((struct sockaddr_in6 *)&other_address.address)->sin6_port = htons(1883);
        const Settings a = { .name = (char *)"gw", .mqtt.listen = { &address, 1 } };
        char keys[400];
        Settings b = a;
        assert_false(reload_needs_restart(&a, &b, keys, sizeof(keys)));
        assert_string_equal(keys, "");

        /* what takes effect at once */
        b.log_level = 7;
        b.nonce_lifetime = 1;
        b.egress_masquerade = true;
        b.egress_uplink = b.reference_values = (Words){ words, 1 };
        assert_false(reload_needs_restart(&a, &b, keys, sizeof(keys)));

        b.name = (char *)"other";
        b.mqtt.maximum_packet_size = 5;
        assert_true(reload_needs_restart(&a, &b, keys, sizeof(keys)));
        assert_string_equal(keys, "[Gateway] Name=, [MQTT] MaximumPacketSize=");
        assert_true(reload_needs_restart(&a, &b, keys, 20));
        assert_string_equal(keys, "[Gateway] Name=");

        b = a;
        b.mqtt.listen.addresses = &other_address;
        b.names = (Words){ words, 1 };
        b.upstream.port = 1;
        assert_true(reload_needs_restart(&a, &b, keys, sizeof(keys)));
        assert_string_equal(keys, "[Identity] Names=, [MQTT] Listen=, [Upstream] Address=");
}

static void device_that_is_another(void **state)
{
        const Zone zone = { .interface = (char *)"eth1.10" },
                   other_zone = { (char *)"", (char *)"eth2", 0 };
        const Class class = { .attestation = ATTESTATION_PSA };
        const Device a = { .zone = &zone, .certificate_name = (char *)"a", .n_addresses = 1 };
        Device b = a;
        b.class = &class; /* takes effect with the session */
        b.has_instance_id = true;
        assert_false(reload_ends_sessions(&a, &b));
        for (unsigned what = 0; what < 6; what++) {
                b = a;
                if (what == 0)
                        b.certificate_name = (char *)"b";
                if (what == 1)
                        b.spki_pinned = true;
                if (what == 2)
                        b.spki_sha256[31] = 1;
                if (what == 3)
                        b.zone = &other_zone;
                if (what == 4)
                        b.addresses[0].family = 4;
                if (what == 5)
                        b.hardware_address[5] = 1;
                assert_true(reload_ends_sessions(&a, &b));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(key_that_changed),
                cmocka_unit_test(device_that_is_another),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
