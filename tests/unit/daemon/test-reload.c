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
        b.upstream.host = (char *)"up";
        assert_true(reload_needs_restart(&a, &b, keys, sizeof(keys)));
        assert_string_equal(keys, "[Identity] Names=, [MQTT] Listen=, [Upstream] Address=");
}

/* Whatever would be ignored until a restart has to be refused, or nobody knows. */
static void every_key_that_takes_a_restart(void **state)
{
        char *words[] = { (char *)"gw", NULL };
        ListenAddress address = { 0 };
        const Settings a = { 0 };
        Settings b[18];
        static const char *const keys[ELEMENTSOF(b)] = {
                "[Gateway] Name=",
                "[Gateway] StateDirectory=",
                "[TPM] TCTI=",
                "[TPM] PCRs=",
                "[Identity] TLSKey=",
                "[Identity] LeafLifetime=",
                "[Identity] Names=",
                "[MQTT] Listen=",
                "[MQTT] MaximumPacketSize=",
                "[MQTT] MaximumConnections=",
                "[MQTT] KeepAlive=",
                "[CoAP] Listen=",
                "[CoAP] MaximumSessions=",
                "[Upstream] Address=",
                "[Upstream] TopicPrefix=",
                "[Upstream] Window=",
                "[Store] MaximumSize=",
                "[MQTT] Passwords=",
        };
        for (size_t i = 0; i < ELEMENTSOF(b); i++)
                b[i] = a;
        b[0].name = b[1].state_directory = b[2].tcti = words[0];
        b[3].pcrs = 1;
        b[4].tls_key = TLS_KEY_TPM;
        b[5].leaf_lifetime = 1;
        b[6].names = (Words){ words, 1 };
        b[7].mqtt.listen = b[11].coap.listen = (Listens){ &address, 1 };
        b[8].mqtt.maximum_packet_size = 1;
        b[9].mqtt.maximum_connections = 1;
        b[10].mqtt.keep_alive = 1;
        b[12].coap.maximum_sessions = 1;
        b[13].upstream.host = b[14].upstream.topic_prefix = words[0];
        b[15].upstream.window = 1;
        b[16].store_maximum_size = 1;
        b[17].mqtt.passwords = PASSWORDS_IGNORE;
        for (size_t i = 0; i < ELEMENTSOF(b); i++) {
                char said[400];
                assert_true(reload_needs_restart(&a, &b[i], said, sizeof(said)));
                assert_string_equal(said, keys[i]);
                assert_true(reload_needs_restart(&b[i], &a, said, sizeof(said)));
        }
}

/* Whom to connect to upstream, and where certificates come from. */
static void key_that_reload_changes(void **state)
{
        char said[400], *word = (char *)"x";
        Settings a = { .upstream.host = (char *)"a" }, b = a;
        b.upstream.host = b.upstream.server_name = b.upstream.ca = b.upstream.client_id = word;
        b.upstream.port = 1;
        b.upstream.keep_alive = 1;
        b.enrollment.server = b.enrollment.ca = b.enrollment.label = word;
        b.enrollment.user_file = word;
        b.enrollment.renew_at = 1;
        assert_false(reload_needs_restart(&a, &b, said, sizeof(said)));
        assert_string_equal(said, "");
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

static void other_rules(void **state)
{
        char *grant[] = { (char *)"hall/#" };
        const Zone zone = { (char *)"z", (char *)"eth1", 0 };
        const Class was = { .name = (char *)"c", .limits = { { 1, 2, 3, 4 }, 8, 32, 256, 1024 } };
        for (unsigned what = 0; what < 9; what++) {
                Class is = was;
                const Device a = { .name = (char *)"d", .zone = &zone, .class = &was };
                const Device b = { .name = (char *)"d", .zone = &zone, .class = &is };
                if (what == 0)
                        is.publish = (Words){ grant, 1 };
                if (what == 1)
                        is.subscribe = (Words){ grant, 1 };
                if (what == 2)
                        is.client_ids = (Words){ grant, 1 };
                if (what == 3)
                        is.limits.sessions++;
                if (what == 4)
                        is.limits.subscriptions++;
                if (what == 5)
                        is.limits.retained_bytes++;
                if (what == 6)
                        is.limits.queue_bytes++;
                if (what == 7) /* without any session's end */
                        is.limits.rate = (QuotaLimits){ 5, 6, 7, 8 };
                if (what == 8)
                        is.name = (char *)"other";
                assert_int_equal(reload_changes_rules(&a, &b), what < 7);
                assert_int_equal(reload_changes_rules(&b, &a), what < 7);
                assert_false(reload_ends_sessions(&a, &b));
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(key_that_changed),
                cmocka_unit_test(key_that_reload_changes),
                cmocka_unit_test(every_key_that_takes_a_restart),
                cmocka_unit_test(device_that_is_another),
                cmocka_unit_test(other_rules),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
