/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/device.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/str.h"

static const char *const posture_words[_POSTURE_MAX] = {
        [POSTURE_UNATTESTED] = "unattested",
        [POSTURE_AFFIRMING] = "affirming",
        [POSTURE_WARNING] = "warning",
        [POSTURE_CONTRAINDICATED] = "contraindicated",
};

const char *posture_to_string(Posture p)
{
        return posture_words[p];
}

int posture_from_string(const char *s)
{
        for (int p = 0; p < _POSTURE_MAX; p++)
                if (streq(s, posture_words[p]))
                        return p;
        return -EINVAL;
}

bool device_name_reserved(Bytes s)
{
        static const char *const reserved[] = { "gateway", "rats", "cmd" };
        for (size_t i = 0; i < ELEMENTSOF(reserved); i++)
                if (bytes_equal(s, bytes_from_str(reserved[i])))
                        return true;
        return false;
}

bool device_name_valid(const char *s)
{
        static const char allowed[] = "abcdefghijklmnopqrstuvwxyz"
                                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                      "0123456789._-";
        size_t len = strlen(s);
        return len > 0 && len <= DEVICE_NAME_MAX && strspn(s, allowed) == len &&
               !strchr("._-", *s) && !device_name_reserved(BYTES(s, len));
}

static DeviceAddress unmapped(const DeviceAddress *a)
{
        static const uint8_t prefix[12] = { [10] = 0xff, [11] = 0xff };
        DeviceAddress r = { .family = a->family };
        if (a->family == 6 && memcmp(a->addr, prefix, sizeof prefix) == 0) {
                r.family = 4;
                memcpy(r.addr, a->addr + 12, 4);
        } else {
                memcpy(r.addr, a->addr, a->family == 4 ? 4 : 16);
        }
        return r;
}

bool device_address_equal(const DeviceAddress *a, const DeviceAddress *b)
{
        DeviceAddress x = unmapped(a), y = unmapped(b);
        return x.family == y.family && memcmp(x.addr, y.addr, sizeof x.addr) == 0;
}

int device_address_parse(const char *s, DeviceAddress *ret)
{
        DeviceAddress a = { 0 };
        if (inet_pton(AF_INET, s, a.addr) == 1)
                a.family = 4;
        else if (inet_pton(AF_INET6, s, a.addr) == 1)
                a.family = 6;
        else
                return -EINVAL;
        *ret = a;
        return 0;
}

/* Splits "ADDR[/LEN]:PORTS" or "[ADDR[/LEN]]:PORTS" into its two parts, within `s`. */
static int split_target(char *s, bool *ret_v6, char **ret_net, char **ret_ports)
{
        bool v6 = *s == '[';
        char *net = v6 ? s + 1 : s;
        char *end = strchr(net, v6 ? ']' : ':');
        if (!end || (v6 && end[1] != ':'))
                return -EINVAL;
        *end = '\0';
        *ret_v6 = v6;
        *ret_net = net;
        *ret_ports = end + (v6 ? 2 : 1);
        return 0;
}

static bool host_bits_clear(const EgressRule *r)
{
        unsigned bits = r->family == 4 ? 32 : 128;
        for (unsigned i = r->prefix; i < bits; i++)
                if (r->addr[i / 8] & 0x80 >> i % 8)
                        return false;
        return true;
}

static int parse_net(char *s, bool v6, EgressRule *r)
{
        unsigned bits = v6 ? 128 : 32;
        uint32_t prefix = bits;
        char *slash = strchr(s, '/');
        if (slash) {
                *slash = '\0';
                if (parse_u32(slash + 1, 0, bits, &prefix) < 0)
                        return -EINVAL;
        }
        if (inet_pton(v6 ? AF_INET6 : AF_INET, s, r->addr) != 1)
                return -EINVAL;
        r->family = v6 ? 6 : 4;
        r->prefix = (uint8_t)prefix;
        return host_bits_clear(r) ? 0 : -EINVAL;
}

static int parse_ports(char *s, EgressRule *r)
{
        uint32_t first, last;
        char *dash = strchr(s, '-');
        if (dash)
                *dash = '\0';
        if (parse_u32(s, 1, UINT16_MAX, &first) < 0)
                return -EINVAL;
        last = first;
        if (dash && parse_u32(dash + 1, first, UINT16_MAX, &last) < 0)
                return -EINVAL;
        r->port_first = (uint16_t)first;
        r->port_last = (uint16_t)last;
        return 0;
}

int egress_rule_parse(const char *s, EgressRule *ret)
{
        EgressRule rule = { 0 };
        char text[EGRESS_RULE_FORMAT_MAX], *net, *ports;
        bool v6;
        const char *target;
        if ((target = startswith(s, "tcp:")))
                rule.protocol = IPPROTO_TCP;
        else if ((target = startswith(s, "udp:")))
                rule.protocol = IPPROTO_UDP;
        else
                return -EINVAL;
        if (strlen(target) >= sizeof text)
                return -EINVAL;
        strcpy(text, target);
        if (split_target(text, &v6, &net, &ports) < 0 || parse_net(net, v6, &rule) < 0 ||
            parse_ports(ports, &rule) < 0)
                return -EINVAL;
        *ret = rule;
        return 0;
}

char *egress_rule_format(const EgressRule *r, char ret[static EGRESS_RULE_FORMAT_MAX])
{
        bool v6 = r->family == 6;
        char addr[INET6_ADDRSTRLEN], prefix[8] = "", last[8] = "";
        inet_ntop(v6 ? AF_INET6 : AF_INET, r->addr, addr, sizeof addr);
        if (r->prefix != (v6 ? 128 : 32))
                snprintf(prefix, sizeof prefix, "/%u", r->prefix);
        if (r->port_last != r->port_first)
                snprintf(last, sizeof last, "-%u", r->port_last);
        snprintf(ret, EGRESS_RULE_FORMAT_MAX, "%s:%s%s%s%s:%u%s",
                 r->protocol == IPPROTO_TCP ? "tcp" : "udp", v6 ? "[" : "", addr, prefix,
                 v6 ? "]" : "", r->port_first, last);
        return ret;
}
