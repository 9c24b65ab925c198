/* SPDX-License-Identifier: GPL-3.0-or-later */
/* tpm-relay [OPTION]... LISTEN TPM
 *
 * Stands between the unix socket LISTEN, on which a client finds "its" TPM (swtpm:path=LISTEN),
 * and TPM, the data socket of a swtpm, and passes TPM 2.0 commands and answers. It makes the TPM
 * as slow as a chip, writes down what is on the bus, and does what an interposer or a failing TPM
 * would do. One client at a time, as swtpm; a connection to swtpm of its own for each of them.
 *
 *   --delay CODE=MS            the answer comes MS milliseconds after the command, not sooner
 *   --delay-ms MS              the same for signatures (TPM2_Sign, 0x15d)
 *   --delay-all MS             the same for every command
 *   --record FILE              "> HEX" each command, "< HEX" each answer, as the client has it
 *   --flip-command CODE[=AT][:N]   flips a bit in the Nth such command (default: in each)
 *   --flip-response CODE[=AT][:N]  the same in the answer; the bit is the lowest of byte AT after
 *                              the header, of the last byte when there is no AT
 *   --fail CODE=RC[:N]         answers with response code RC, N times (default: always); the TPM
 *                              does not see the command
 *   --hang CODE[:N]            takes the command and never answers, N times
 *   --close-after N            ends each connection instead of taking its command N + 1
 *   --off                      starts with all of it off, except the record
 *
 * CODE is a command code or "all"; numbers may be hexadecimal. SIGUSR1 switches what the options
 * say on and counts from the start, SIGUSR2 switches it off. LISTEN is there once it is listened
 * on; who may connect is a matter of its folder's mode. */

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/reader.h"
#include "base/str.h"

#define MESSAGE_MAX 4096 /* as the kernel's driver and swtpm */
#define HEADER_SIZE 10   /* tag, size, code: TPM 2.0 Library Part 1, 18.4 */
#define RULES_MAX   16
#define CODE_SIGN   0x15dU
#define CODE_ALL    0U
#define LAST        UINT32_MAX

typedef enum RuleKind {
        RULE_DELAY,
        RULE_FLIP_COMMAND,
        RULE_FLIP_RESPONSE,
        RULE_FAIL,
        RULE_HANG,
} RuleKind;

typedef struct Rule {
        RuleKind kind;
        uint32_t code;
        uint32_t value; /* ms, byte or response code */
        uint32_t n;     /* 0: no limit */
        uint32_t seen;
} Rule;

typedef struct Message {
        uint8_t bytes[MESSAGE_MAX];
        size_t len;
        uint32_t code;
} Message;

typedef struct Relay {
        const char *listen_path, *tpm_path;
        FILE *record;
        Rule rules[RULES_MAX];
        size_t n_rules;
        uint32_t close_after; /* 0: never */
        bool on;
} Relay;

static volatile sig_atomic_t switched; /* the signal that came last, until it is seen */

static void on_switch(int signo)
{
        switched = signo;
}

static void look_at_switch(Relay *r)
{
        int signo = switched;
        if (signo == 0)
                return;
        switched = 0;
        r->on = signo == SIGUSR1;
        for (size_t i = 0; i < r->n_rules; i++)
                r->rules[i].seen = 0;
}

/* --- messages -------------------------------------------------------------------------------- */

static bool read_exactly(int fd, uint8_t *p, size_t len)
{
        while (len > 0) {
                ssize_t n = read(fd, p, len);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return false;
                p += n;
                len -= (size_t)n;
        }
        return true;
}

/* False at the end of the stream, and for what is no TPM message. */
static bool read_message(int fd, Message *m)
{
        if (!read_exactly(fd, m->bytes, HEADER_SIZE))
                return false;
        Reader header = reader_new(BYTES(m->bytes, HEADER_SIZE));
        reader_skip(&header, 2);
        m->len = reader_u32(&header);
        m->code = reader_u32(&header);
        return m->len >= HEADER_SIZE && m->len <= MESSAGE_MAX &&
               read_exactly(fd, m->bytes + HEADER_SIZE, m->len - HEADER_SIZE);
}

static bool send_message(int fd, const Message *m)
{
        for (size_t sent = 0; sent < m->len;) {
                ssize_t n = send(fd, m->bytes + sent, m->len - sent, MSG_NOSIGNAL);
                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return false;
                sent += (size_t)n;
        }
        return true;
}

static void write_record(Relay *r, char direction, const Message *m)
{
        char hex[2 * MESSAGE_MAX + 1];
        if (!r->record)
                return;
        hex_encode(BYTES(m->bytes, m->len), hex);
        fprintf(r->record, "%c %s\n", direction, hex);
        fflush(r->record);
}

static void make_failure(Message *m, uint32_t rc)
{
        const uint8_t answer[HEADER_SIZE] = { 0x80,
                                              0x01,
                                              0,
                                              0,
                                              0,
                                              HEADER_SIZE,
                                              (uint8_t)(rc >> 24),
                                              (uint8_t)(rc >> 16),
                                              (uint8_t)(rc >> 8),
                                              (uint8_t)rc };
        memcpy(m->bytes, answer, sizeof(answer));
        m->len = sizeof(answer);
}

/* --- rules ----------------------------------------------------------------------------------- */

/* Whether it is this rule's turn: of a flip the Nth time only, of the others the first N times. */
static bool applies(Rule *rule, RuleKind kind, uint32_t code)
{
        if (rule->kind != kind || (rule->code != CODE_ALL && rule->code != code))
                return false;
        rule->seen++;
        if (rule->n == 0)
                return true;
        bool flip = kind == RULE_FLIP_COMMAND || kind == RULE_FLIP_RESPONSE;
        return flip ? rule->seen == rule->n : rule->seen <= rule->n;
}

static Rule *find_rule(Relay *r, RuleKind kind, uint32_t code)
{
        Rule *found = NULL;
        for (size_t i = 0; r->on && i < r->n_rules; i++)
                if (applies(&r->rules[i], kind, code) && !found)
                        found = &r->rules[i];
        return found;
}

static void flip(Relay *r, RuleKind kind, uint32_t code, Message *m)
{
        const Rule *rule = find_rule(r, kind, code);
        size_t payload = m->len - HEADER_SIZE;
        if (!rule || payload == 0)
                return;
        size_t at = rule->value == LAST ? payload - 1 : rule->value;
        if (at < payload)
                m->bytes[HEADER_SIZE + at] ^= 1;
}

/* Until then, or until the client goes: false. With UINT64_MAX until it goes. */
static bool wait_until(int client, usec_t until)
{
        for (;;) {
                usec_t now = now_boottime();
                if (now >= until)
                        return true;
                usec_t left = MIN(until - now, USEC_PER_HOUR);
                struct timespec span = { .tv_sec = (time_t)(left / USEC_PER_SEC),
                                         .tv_nsec = (long)(left % USEC_PER_SEC) * 1000 };
                struct pollfd p = { .fd = client, .events = POLLRDHUP };
                if (ppoll(&p, 1, &span, NULL) > 0)
                        return false;
        }
}

/* --- one client ------------------------------------------------------------------------------ */

/* False when the connection ends. */
static bool serve_command(Relay *r, int client, int tpm, Message *m)
{
        const uint32_t code = m->code;
        const usec_t came = now_boottime();
        write_record(r, '>', m);
        if (find_rule(r, RULE_HANG, code))
                return wait_until(client, UINT64_MAX);
        const Rule *fail = find_rule(r, RULE_FAIL, code);
        if (fail) {
                make_failure(m, fail->value);
        } else {
                flip(r, RULE_FLIP_COMMAND, code, m);
                if (!send_message(tpm, m) || !read_message(tpm, m))
                        return false;
                flip(r, RULE_FLIP_RESPONSE, code, m);
        }
        const Rule *delay = find_rule(r, RULE_DELAY, code);
        if (delay && !wait_until(client, came + delay->value * USEC_PER_MSEC))
                return false;
        write_record(r, '<', m);
        return send_message(client, m);
}

/* A TPM that goes away is not first heard of at the next command. */
static bool wait_command(int client, int tpm)
{
        struct pollfd p[] = { { .fd = client, .events = POLLIN }, { .fd = tpm, .events = POLLIN } };
        while (poll(p, ELEMENTSOF(p), -1) < 0)
                if (errno != EINTR)
                        return false;
        return p[1].revents == 0;
}

static void serve(Relay *r, int client, int tpm)
{
        Message m;
        uint32_t taken = 0;
        while (wait_command(client, tpm) && read_message(client, &m)) {
                look_at_switch(r);
                if (r->on && r->close_after > 0 && taken++ >= r->close_after)
                        return;
                if (!serve_command(r, client, tpm, &m))
                        return;
        }
}

static int unix_socket(const char *path, struct sockaddr_un *a)
{
        *a = (struct sockaddr_un){ .sun_family = AF_UNIX };
        if ((size_t)snprintf(a->sun_path, sizeof(a->sun_path), "%s", path) >= sizeof(a->sun_path)) {
                errno = ENAMETOOLONG;
                return -1;
        }
        return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

/* The TPM only once somebody wants it: it serves one at a time. */
static int connect_tpm(const Relay *r)
{
        struct sockaddr_un a;
        _cleanup_close_ int fd = unix_socket(r->tpm_path, &a);
        if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
                return TAKE_FD(fd);
        fprintf(stderr, "tpm-relay: %s: %s\n", r->tpm_path, strerror(errno));
        return -1;
}

static int run(Relay *r, int listener)
{
        for (;;) {
                _cleanup_close_ int client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
                if (client < 0 && errno == EINTR)
                        continue;
                if (client < 0) {
                        perror("tpm-relay: accept");
                        return EXIT_FAILURE;
                }
                _cleanup_close_ int tpm = connect_tpm(r);
                if (tpm >= 0)
                        serve(r, client, tpm);
        }
}

/* Nobody finds the name before somebody listens. */
static int open_listener(const char *path)
{
        struct sockaddr_un a;
        char early[sizeof(a.sun_path)];
        snprintf(early, sizeof(early), "%.100s.new", path);
        _cleanup_close_ int fd = unix_socket(early, &a);
        unlink(early);
        if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(early, 0666) < 0 ||
            listen(fd, 4) < 0 || rename(early, path) < 0) {
                fprintf(stderr, "tpm-relay: %s: %s\n", path, strerror(errno));
                return -1;
        }
        return TAKE_FD(fd);
}

/* --- the command line ------------------------------------------------------------------------ */

static bool parse_number(const char *s, const char *end, uint32_t *ret)
{
        char *stop;
        errno = 0;
        unsigned long long n = strtoull(s, &stop, 0);
        if (stop == s || stop != end || errno != 0 || *s == '-' || n > UINT32_MAX)
                return false;
        *ret = (uint32_t)n;
        return true;
}

/* CODE[=VALUE][:N] */
static bool parse_rule(RuleKind kind, const char *s, Rule *ret)
{
        const char *end = s + strlen(s), *n = strchrnul(s, ':'), *value = strchrnul(s, '=');
        Rule rule = { .kind = kind, .value = LAST };
        value = MIN(value, n);
        bool all = value - s == 3 && strncmp(s, "all", 3) == 0;
        if ((!all && !parse_number(s, value, &rule.code)) ||
            (*value == '=' && !parse_number(value + 1, n, &rule.value)) ||
            (*n == ':' && !parse_number(n + 1, end, &rule.n)))
                return false;
        if ((kind == RULE_DELAY || kind == RULE_FAIL) && *value != '=')
                return false;
        *ret = rule;
        return true;
}

static void add_rule(Relay *r, RuleKind kind, const char *argument)
{
        if (r->n_rules == RULES_MAX || !parse_rule(kind, argument, &r->rules[r->n_rules])) {
                fprintf(stderr, "tpm-relay: \"%s\" is not understood\n", argument);
                exit(EXIT_FAILURE);
        }
        r->n_rules++;
}

static void add_delay(Relay *r, uint32_t code, const char *ms)
{
        char rule[64];
        if (code == CODE_ALL)
                snprintf(rule, sizeof(rule), "all=%.20s", ms);
        else
                snprintf(rule, sizeof(rule), "%u=%.20s", code, ms);
        add_rule(r, RULE_DELAY, rule);
}

static void open_record(Relay *r, const char *path)
{
        r->record = fopen(path, "ae");
        if (r->record)
                return;
        fprintf(stderr, "tpm-relay: %s: %s\n", path, strerror(errno));
        exit(EXIT_FAILURE);
}

enum {
        OPTION_DELAY = RULE_DELAY, /* the first five are rules as they stand */
        OPTION_FLIP_COMMAND = RULE_FLIP_COMMAND,
        OPTION_FLIP_RESPONSE = RULE_FLIP_RESPONSE,
        OPTION_FAIL = RULE_FAIL,
        OPTION_HANG = RULE_HANG,
        OPTION_DELAY_SIGN,
        OPTION_DELAY_ALL,
        OPTION_RECORD,
        OPTION_CLOSE_AFTER,
        OPTION_OFF,
};

static const struct option options[] = {
        { "delay", required_argument, NULL, OPTION_DELAY },
        { "delay-ms", required_argument, NULL, OPTION_DELAY_SIGN },
        { "delay-all", required_argument, NULL, OPTION_DELAY_ALL },
        { "record", required_argument, NULL, OPTION_RECORD },
        { "flip-command", required_argument, NULL, OPTION_FLIP_COMMAND },
        { "flip-response", required_argument, NULL, OPTION_FLIP_RESPONSE },
        { "fail", required_argument, NULL, OPTION_FAIL },
        { "hang", required_argument, NULL, OPTION_HANG },
        { "close-after", required_argument, NULL, OPTION_CLOSE_AFTER },
        { "off", no_argument, NULL, OPTION_OFF },
        { 0 },
};

static void usage(void)
{
        fprintf(stderr, "usage: tpm-relay [OPTION]... LISTEN TPM (the options: tpm-relay.c)\n");
        exit(2);
}

static void take_option(Relay *r, int option)
{
        switch (option) {
        case OPTION_DELAY_SIGN:
                add_delay(r, CODE_SIGN, optarg);
                break;
        case OPTION_DELAY_ALL:
                add_delay(r, CODE_ALL, optarg);
                break;
        case OPTION_RECORD:
                open_record(r, optarg);
                break;
        case OPTION_CLOSE_AFTER:
                if (!parse_number(optarg, optarg + strlen(optarg), &r->close_after))
                        usage();
                break;
        case OPTION_OFF:
                r->on = false;
                break;
        case '?':
                usage();
                break;
        default:
                add_rule(r, (RuleKind)option, optarg);
        }
}

int main(int argc, char **argv)
{
        static Relay r = { .on = true };
        const struct sigaction action = { .sa_handler = on_switch };
        int option;
        while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
                take_option(&r, option);
        if (argc - optind != 2)
                usage();
        r.listen_path = argv[optind];
        r.tpm_path = argv[optind + 1];
        sigaction(SIGUSR1, &action, NULL);
        sigaction(SIGUSR2, &action, NULL);
        _cleanup_close_ int listener = open_listener(r.listen_path);
        return listener < 0 ? EXIT_FAILURE : run(&r, listener);
}
