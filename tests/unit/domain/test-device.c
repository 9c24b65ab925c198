/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <netinet/in.h>

#include "../unit.h"
#include "base/str.h"
#include "domain/device.h"

static void postures(void **state)
{
        for (int p = 0; p < _POSTURE_MAX; p++)
                assert_int_equal(posture_from_string(posture_to_string((Posture)p)), p);
        assert_int_equal(posture_from_string("affirming"), POSTURE_AFFIRMING);
        assert_int_equal(posture_from_string("Affirming"), -EINVAL);
        assert_int_equal(posture_from_string(""), -EINVAL);
}

static void names(void **state)
{
        char longest[DEVICE_NAME_MAX + 2];
        memset(longest, 'a', sizeof longest);
        longest[DEVICE_NAME_MAX + 1] = '\0';
        assert_false(device_name_valid(longest));
        longest[DEVICE_NAME_MAX] = '\0';
        assert_true(device_name_valid(longest));

        static const char *const good[] = { "dev1", "a", "9", "x_", "Pump-3.hall_B", "gateway2" };
        static const char *const bad[] = {
                "",   ".hidden", "-x",     "a/b", "a b",    "a+",          "#",
                "$",  "gateway", "rats",   "cmd", "d\n",    "caf\xc3\xa9", ".",
                "..", "a\\b",    "x\x01y", "a:b", "__lead",
        };
        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_true(device_name_valid(good[i]));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_false(device_name_valid(bad[i]));
}

static void addresses(void **state)
{
        DeviceAddress v4, other, mapped, v6;
        assert_int_equal(device_address_parse("192.0.2.1", &v4), 0);
        assert_int_equal(v4.family, 4);
        assert_memory_equal(v4.addr, "\xc0\x00\x02\x01", 4);
        assert_int_equal(device_address_parse("192.0.2.2", &other), 0);
        assert_int_equal(device_address_parse("::ffff:192.0.2.1", &mapped), 0);
        assert_int_equal(device_address_parse("2001:db8::1", &v6), 0);
        assert_int_equal(v6.family, 6);
        assert_true(device_address_equal(&v4, &v4));
        assert_true(device_address_equal(&v4, &mapped));
        assert_false(device_address_equal(&v4, &other));
        assert_false(device_address_equal(&v4, &v6));

        static const char *const bad[] = { "",           "1.2.3", "1.2.3.4.5",    "1.2.3.256",
                                           "1.2.3.4/24", "[::1]", "fe80::1%eth0", "host" };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(device_address_parse(bad[i], &v4), -EINVAL);
        assert_memory_equal(v4.addr, "\xc0\x00\x02\x01", 4);
}

static void egress_rules(void **state)
{
        static const char *const canonical[] = {
                "tcp:203.0.113.10:443",  "udp:[2001:db8::/32]:5000-5100", "tcp:198.51.100.0/24:443",
                "tcp:0.0.0.0/0:1-65535", "udp:[2001:db8::1]:53",          "tcp:[::/0]:443",
        };
        for (size_t i = 0; i < ELEMENTSOF(canonical); i++) {
                EgressRule r;
                char text[EGRESS_RULE_FORMAT_MAX];
                assert_int_equal(egress_rule_parse(canonical[i], &r), 0);
                assert_string_equal(egress_rule_format(&r, text), canonical[i]);
        }
        EgressRule r;
        assert_int_equal(egress_rule_parse("udp:[2001:db8::/32]:5000-5100", &r), 0);
        assert_int_equal(r.family, 6);
        assert_int_equal(r.prefix, 32);
        assert_int_equal(r.protocol, IPPROTO_UDP);
        assert_int_equal(r.port_first, 5000);
        assert_int_equal(r.port_last, 5100);
        assert_memory_equal(r.addr, "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

static void egress_rules_refused(void **state)
{
        static const char *const bad[] = {
                "",
                "tcp",
                "tcp:",
                "tcp:203.0.113.10",
                "tcp:203.0.113.10:",
                "tcp:203.0.113.10:0",
                "tcp:203.0.113.10:65536",
                "tcp:203.0.113.10:20-10",
                "tcp:203.0.113.10:10-",
                "tcp:203.0.113.10:-10",
                "tcp:203.0.113.10:1-2-3",
                "tcp:203.0.113.10/24:443", /* bits behind the prefix */
                "tcp:[2001:db8::1/32]:443",
                "tcp:203.0.113.0/33:443",
                "tcp:203.0.113.0/:443",
                "tcp:2001:db8::1:443",
                "tcp:[2001:db8::1]",
                "tcp:[2001:db8::1:443",
                "tcp:[2001:db8::]/32:443",
                "tcp:[203.0.113.10]:443",
                "icmp:203.0.113.10:443",
                "TCP:203.0.113.10:443",
                "tcp:example.com:443",
                " tcp:203.0.113.10:443",
                "tcp:203.0.113.10:443 ",
        };
        EgressRule r = { .port_first = 77 };
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(egress_rule_parse(bad[i], &r), -EINVAL);
        char endless[4096] = "tcp:";
        memset(endless + 4, '1', sizeof endless - 5);
        assert_int_equal(egress_rule_parse(endless, &r), -EINVAL);
        assert_int_equal(r.port_first, 77);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(postures),
                cmocka_unit_test(names),
                cmocka_unit_test(addresses),
                cmocka_unit_test(egress_rules),
                cmocka_unit_test(egress_rules_refused),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
