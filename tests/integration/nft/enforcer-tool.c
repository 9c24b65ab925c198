/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Drives the daemon's enforcer by lines on standard input, for tests/integration/nft/test.py:
 *
 *   zone NAME INTERFACE [dhcp] [dns] [ntp] [ping]
 *   uplink INTERFACE | masquerade
 *   class NAME [POSTURE RULE]...
 *   device NAME ZONE CLASS HARDWARE|- POSTURE LIFETIME|- [ADDRESS]...
 *   many N ZONE CLASS              N devices 100.64.x.y
 *   load                           -> "load ERROR MICROSECONDS"
 *   clear                          forgets what stands above, for another load
 *   posture NAME POSTURE LIFETIME|-
 *   quarantine NAME on|off         -> "apply NAME ERROR MICROSECONDS"
 *   query NAME                     -> one line an element, "end"
 *   power on|off                   without power the kernel refuses everything
 *   fault refuse SET ADDRESS       it refuses each batch that adds something of ADDRESS to SET
 *   fault send ERRNO N             the next N batches do not go out
 *   fault lose ERRNO N             it takes the next N batches; the answers are lost
 *   fault interrupt                reading the next answer is interrupted by a signal once
 *   fault plan NAME                no plan can be made for the device, as without memory
 *   fault none
 *   forget ADDRESS                 -> "forget ERROR N": IPv4 connections deleted
 *   counters                       -> "counters spoofed N quarantined N ..."
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "daemon/enforcer.h"
#include "fault.h"
#include "platform/conntrack.h"

#define WORDS_MAX   64
#define ZONES_MAX   8
#define CLASSES_MAX 8
#define UPLINKS_MAX 4
#define DEVICES_MAX 4096

typedef struct Tool {
        Loop *loop;
        Enforcer *enforcer;
        Zone zones[ZONES_MAX];
        Class classes[CLASSES_MAX];
        char *uplinks[UPLINKS_MAX];
        Device devices[DEVICES_MAX];
        DeviceState states[DEVICES_MAX];
        size_t n_zones, n_classes, n_uplinks, n_devices;
        bool masquerade;
        char line[4096];
        size_t len;
} Tool;

typedef struct Timing {
        char *name;
        usec_t begin;
} Timing;

static _Noreturn void die(const char *what)
{
        fprintf(stderr, "enforcer-tool: %s\n", what);
        exit(1);
}

static char *copy(const char *s)
{
        char *c = strdup(s);

        if (!c)
                die("no memory");
        return c;
}

static unsigned service(const char *s)
{
        return streq(s, "dhcp")   ? ZONE_SERVICE_DHCP
               : streq(s, "dns")  ? ZONE_SERVICE_DNS
               : streq(s, "ntp")  ? ZONE_SERVICE_NTP
               : streq(s, "ping") ? ZONE_SERVICE_PING
                                  : (die("no such service"), 0U);
}

static void add_zone(Tool *t, char **w, size_t n)
{
        Zone *z = &t->zones[t->n_zones++];

        if (t->n_zones > ZONES_MAX || n < 3)
                die("zone");
        *z = (Zone){ .name = copy(w[1]), .interface = copy(w[2]) };
        for (size_t i = 3; i < n; i++)
                z->services |= service(w[i]);
}

static Posture posture(const char *s)
{
        int p = posture_from_string(s);

        if (p < 0)
                die("no such posture");
        return (Posture)p;
}

static void add_class(Tool *t, char **w, size_t n)
{
        Class *c = &t->classes[t->n_classes++];

        if (t->n_classes > CLASSES_MAX || n < 2)
                die("class");
        *c = (Class){ .name = copy(w[1]) };
        for (size_t i = 2; i + 1 < n; i += 2) {
                Posture p = posture(w[i]);
                size_t have = c->egress[p].n_rules++;

                c->egress[p].rules =
                        reallocarray(c->egress[p].rules, have + 1, sizeof(*c->egress[p].rules));
                if (!c->egress[p].rules || egress_rule_parse(w[i + 1], &c->egress[p].rules[have]))
                        die("rule");
        }
}

static DeviceState *new_device(Tool *t, const char *name, const char *zone, const char *class)
{
        Device *d = &t->devices[t->n_devices];
        DeviceState *s = &t->states[t->n_devices];

        if (t->n_devices++ >= DEVICES_MAX)
                die("too many devices");
        *d = (Device){ .name = copy(name) };
        for (size_t i = 0; i < t->n_zones; i++)
                if (streq(t->zones[i].name, zone))
                        d->zone = &t->zones[i];
        for (size_t i = 0; i < t->n_classes; i++)
                if (streq(t->classes[i].name, class))
                        d->class = &t->classes[i];
        *s = (DeviceState){ .device = d, .expires = USEC_INFINITY };
        return s;
}

static void set_posture(DeviceState *s, const char *word, const char *lifetime)
{
        usec_t left = USEC_INFINITY;

        if (!streq(lifetime, "-") && parse_usec(lifetime, &left) < 0)
                die("lifetime");
        s->posture = posture(word);
        s->expires = usec_add(now_boottime(), left);
}

static void add_device(Tool *t, char **w, size_t n)
{
        DeviceState *s;
        Device *d;

        if (n < 7)
                die("device");
        s = new_device(t, w[1], w[2], w[3]);
        d = &t->devices[s - t->states];
        d->has_hardware_address = !streq(w[4], "-");
        if (d->has_hardware_address && hex_decode(w[4], d->hardware_address, 6) < 0)
                die("hardware address");
        set_posture(s, w[5], w[6]);
        for (size_t i = 7; i < n; i++) {
                DeviceAddress *a = &d->addresses[d->n_addresses++];

                a->family = strchr(w[i], ':') ? 6 : 4;
                if (inet_pton(a->family == 6 ? AF_INET6 : AF_INET, w[i], a->addr) != 1)
                        die("address");
        }
}

static void add_many(Tool *t, char **w, size_t n)
{
        uint32_t count;

        if (n != 4 || parse_u32(w[1], 1, DEVICES_MAX, &count) < 0)
                die("many");
        for (uint32_t i = 0; i < count; i++) {
                char name[32];
                DeviceState *s;
                Device *d;
                uint32_t address = htonl(0x64400000 + 256 + i), wire = htonl(i);

                snprintf(name, sizeof(name), "many%" PRIu32, i);
                s = new_device(t, name, w[2], w[3]);
                d = &t->devices[s - t->states];
                s->posture = POSTURE_AFFIRMING;
                s->expires = usec_add(now_boottime(), USEC_PER_HOUR);
                d->has_hardware_address = true;
                d->hardware_address[0] = 6;
                memcpy(d->hardware_address + 2, &wire, 4);
                d->addresses[0].family = 4;
                memcpy(d->addresses[0].addr, &address, 4);
                d->n_addresses = 1;
        }
}

static void load(Tool *t)
{
        static const RulesetDoor doors[] = { { IPPROTO_UDP, 5685 },
                                             { IPPROTO_TCP, 8883 },
                                             { IPPROTO_UDP, 5684 } };
        EnforcerSettings settings = {
                .zones = t->zones,
                .n_zones = t->n_zones,
                .uplinks = t->uplinks,
                .n_uplinks = t->n_uplinks,
                .masquerade = t->masquerade,
                .doors = doors,
                .n_doors = ELEMENTSOF(doors),
        };
        const DeviceState **states = calloc(t->n_devices + 1, sizeof(*states));
        usec_t begin = now_boottime();
        int r;

        if (!states)
                die("no memory");
        for (size_t i = 0; i < t->n_devices; i++)
                states[i] = &t->states[i];
        r = enforcer_load(t->enforcer, &settings, states, t->n_devices);
        printf("load %d %" PRIu64 "\n", r, now_boottime() - begin);
        free(states);
}

static void clear(Tool *t)
{
        for (size_t i = 0; i < t->n_zones; i++) {
                free(t->zones[i].name);
                free(t->zones[i].interface);
        }
        for (size_t i = 0; i < t->n_classes; i++) {
                free(t->classes[i].name);
                for (Posture p = 0; p < _POSTURE_MAX; p++)
                        free(t->classes[i].egress[p].rules);
        }
        for (size_t i = 0; i < t->n_uplinks; i++)
                free(t->uplinks[i]);
        for (size_t i = 0; i < t->n_devices; i++)
                free(t->devices[i].name);
        t->n_zones = t->n_classes = t->n_uplinks = t->n_devices = 0;
        t->masquerade = false;
}

static void applied(int error, void *userdata)
{
        Timing *x = userdata;

        printf("apply %s %d %" PRIu64 "\n", x->name, error, now_boottime() - x->begin);
        fflush(stdout);
        free(x->name);
        free(x);
}

static DeviceState *find(Tool *t, const char *name)
{
        for (size_t i = 0; i < t->n_devices; i++)
                if (streq(t->devices[i].name, name))
                        return &t->states[i];
        die("no such device");
}

static void apply(Tool *t, const DeviceState *s)
{
        Timing *x = calloc(1, sizeof(*x));
        int r;

        if (!x)
                die("no memory");
        *x = (Timing){ copy(s->device->name), now_boottime() };
        r = enforcer_apply(t->enforcer, s, applied, x);
        if (r < 0)
                applied(r, x);
}

static void query(Tool *t, const char *name)
{
        static const char *const kinds[_EGRESS_KIND_MAX] = {
                [EGRESS_CLAIMED] = "claimed",
                [EGRESS_REFUSED] = "refused",
                [EGRESS_QUARANTINED] = "quarantined",
                [EGRESS_QUARANTINED_ETHER] = "quarantined-ether",
                [EGRESS_OPEN] = "open",
                [EGRESS_ALLOWED] = "allowed",
        };
        EnforcerElement *all = NULL;
        size_t n = 0;
        bool held = false;
        int r = enforcer_query(t->enforcer, name, &all, &n, &held);

        for (size_t i = 0; r == 0 && i < n; i++) {
                const EgressElement *e = &all[i].element;
                char address[INET6_ADDRSTRLEN] = "-", rule[EGRESS_RULE_FORMAT_MAX] = "-";

                if (e->address.family != 0)
                        inet_ntop(e->address.family == 6 ? AF_INET6 : AF_INET, e->address.addr,
                                  address, sizeof(address));
                if (e->kind == EGRESS_ALLOWED)
                        egress_rule_format(&e->rule, rule);
                printf("%s %s %s %s packets %" PRIu64 " bytes %" PRIu64 " left %" PRId64 "\n",
                       kinds[e->kind], address, rule, all[i].present ? "present" : "absent",
                       all[i].count.packets, all[i].count.bytes,
                       all[i].left == USEC_INFINITY ? -1 : (int64_t)all[i].left);
        }
        printf("end %d %s\n", r, held ? "held" : "free");
        free(all);
}

static void forget(const char *address)
{
        _cleanup_(conntrack_freep) Conntrack *c = NULL;
        uint8_t addr[4];
        size_t n = 0;
        _cleanup_conntrack_found_ ConntrackFound found = { 0 };
        int r = conntrack_open(&c);

        if (r < 0 || inet_pton(AF_INET, address, addr) != 1)
                die("forget");
        r = conntrack_find(c, 4, addr, NULL, 0, &found);
        n = found.n;
        if (r == 0)
                r = conntrack_delete(c, &found);
        printf("forget %d %zu\n", r, n);
}

static void counters(Tool *t)
{
        RulesetCounters c;

        if (enforcer_counters(t->enforcer, &c) < 0)
                die("cannot read counters");
        printf("counters spoofed %" PRIu64 " quarantined %" PRIu64 " lateral %" PRIu64
               " invalid %" PRIu64 " refused %" PRIu64 "\n",
               c.spoofed.packets, c.quarantined.packets, c.lateral.packets, c.invalid.packets,
               c.refused.packets);
}

static void fault(Tool *t, char **w, size_t n)
{
        uint8_t address[4];
        uint32_t number, count;

        if (n == 2 && streq(w[1], "none"))
                fault_none();
        else if (n == 2 && streq(w[1], "interrupt"))
                fault_interrupt();
        else if (n == 3 && streq(w[1], "plan"))
                t->devices[find(t, w[2]) - t->states].zone = NULL;
        else if (n == 4 && streq(w[1], "refuse") && inet_pton(AF_INET, w[3], address) == 1)
                fault_refuse(w[2], address);
        else if (n == 4 && parse_u32(w[2], 1, 4096, &number) == 0 &&
                 parse_u32(w[3], 1, UINT32_MAX, &count) == 0)
                fault_batches(streq(w[1], "lose"), (int)number, count);
        else
                die("fault");
}

static void run(Tool *t, char **w, size_t n)
{
        if (streq(w[0], "zone"))
                add_zone(t, w, n);
        else if (streq(w[0], "uplink") && n == 2 && t->n_uplinks < UPLINKS_MAX)
                t->uplinks[t->n_uplinks++] = copy(w[1]);
        else if (streq(w[0], "masquerade"))
                t->masquerade = true;
        else if (streq(w[0], "class"))
                add_class(t, w, n);
        else if (streq(w[0], "device"))
                add_device(t, w, n);
        else if (streq(w[0], "many"))
                add_many(t, w, n);
        else if (streq(w[0], "clear"))
                clear(t);
        else if (streq(w[0], "load"))
                load(t);
        else if (streq(w[0], "query") && n == 2)
                query(t, w[1]);
        else if (streq(w[0], "power") && n == 2) {
                if (seteuid(streq(w[1], "on") ? 0 : 65534) < 0)
                        die("seteuid");
        } else if (streq(w[0], "fault"))
                fault(t, w, n);
        else if (streq(w[0], "forget") && n == 2)
                forget(w[1]);
        else if (streq(w[0], "counters"))
                counters(t);
        else if (streq(w[0], "posture") && n == 4) {
                set_posture(find(t, w[1]), w[2], w[3]);
                apply(t, find(t, w[1]));
        } else if (streq(w[0], "quarantine") && n == 3) {
                find(t, w[1])->quarantined = streq(w[2], "on");
                apply(t, find(t, w[1]));
        } else
                die("no such command");
        fflush(stdout);
}

static void run_line(Tool *t, char *line)
{
        char *words[WORDS_MAX], *rest = NULL;
        size_t n = 0;

        for (char *w = strtok_r(line, " ", &rest); w && n < WORDS_MAX;
             w = strtok_r(NULL, " ", &rest))
                words[n++] = w;
        if (n > 0)
                run(t, words, n);
}

static int on_input(int fd, unsigned events, void *userdata)
{
        Tool *t = userdata;
        ssize_t n = read(fd, t->line + t->len, sizeof(t->line) - t->len);
        char *end;

        if (n <= 0) {
                loop_exit(t->loop, 0);
                return 0;
        }
        t->len += (size_t)n;
        while ((end = memchr(t->line, '\n', t->len))) {
                *end++ = '\0';
                run_line(t, t->line);
                t->len -= (size_t)(end - t->line);
                memmove(t->line, end, t->len);
        }
        return 0;
}

int main(void)
{
        static Tool t;
        _cleanup_(loop_source_freep) LoopSource *input = NULL;
        int r = loop_new(&t.loop);

        if (r == 0)
                r = enforcer_new(t.loop, &t.enforcer);
        if (r == 0)
                r = loop_add_io(t.loop, &input, STDIN_FILENO, LOOP_READ, LOOP_FATAL, on_input, &t);
        if (r < 0) {
                fprintf(stderr, "enforcer-tool: %s\n", strerror(-r));
                return 1;
        }
        r = loop_run(t.loop);
        loop_source_free(TAKE_PTR(input));
        enforcer_free(t.enforcer);
        loop_free(t.loop);
        return r < 0;
}
