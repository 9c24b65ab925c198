/* SPDX-License-Identifier: GPL-3.0-or-later */
/* mqtt-load publish|receive [OPTION]... ADDRESS:PORT
 *
 * Devices that publish through a gateway, and the one upstream that receives it all and sees that
 * every message comes, once and in order. One thread; bounded in messages and in time. One JSON
 * object on the standard output; 0 when everything came as it was sent, 1 when not, 2 for what is
 * wrong here. Connections and handshakes alone: handshake-load.
 *
 * publish: --clients connections to ADDRESS:PORT, each with a certificate of its own. With
 * --receiver the messages are seen to their end; without it, to the server's acknowledgement.
 *
 *   --clients N --name NAME --issuer FILE --trust FILE --host NAME --source ADDRESS
 *                      as those of handshake-load (100)
 *   --watch PID        a server whose CPU time is told
 *   --mqtt 3|5         MQTT 3.1.1 or 5 (5); the receiver speaks 5
 *   --qos 0|1|2        (1)
 *   --size BYTES       of a payload, from 32 (256)
 *   --topic TOPIC      "%u" in it is the connection's number (bench)
 *   --messages N       of each connection (1000)
 *   --window N         closed loop: so many of a connection may be on their way (4)
 *   --rate N           open loop: so many a second, of all together, on time, come what may
 *   --fault lost|duplicated|reordered
 *                      does that to one message and has to find it; with QoS 0
 *
 * The upstream subscriber, which is publish's with --receiver and receive's at ADDRESS:PORT:
 *
 *   --receiver ADDRESS:PORT
 *   --receiver-netns FILE   the network namespace that it is in
 *   --receiver-pair FILE    its certificate and key, FILE.pem and FILE.key
 *   --receiver-trust FILE   authority of the broker
 *   --receiver-host NAME    what its certificate must hold (default: ADDRESS)
 *   --receiver-qos 0|1|2    (0)
 *   --filter FILTER         (#)
 *   --run N                 of the messages that count; publish's own otherwise
 *   --seconds N             receive: ends after this time, or at SIGTERM; "ready" says that it
 *                           listens (60)
 *
 *   --drain SECONDS    ends when nothing has come for so long (5)
 *   --timeout SECONDS  for all of it (60) */

#include <err.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/str.h"
#include "mqtt-count.h"
#include "mqtt-peer.h"
#include "options.h"

#define EVENTS_TURN     256
#define RECEIVER_IDS    1000 /* connections that a receiver alone tells apart */
#define OUT_ENOUGH      ((size_t)256 * 1024)
#define FAULTY_SEQUENCE 20
#define CONNECTING_MAX  8 /* at a time, so that no door's limit is in the way */

typedef enum Fault {
        FAULT_NONE,
        FAULT_LOST,
        FAULT_DUPLICATED,
        FAULT_REORDERED,
} Fault;

typedef struct Arguments {
        bool publish;
        LoadParams load, receiver; /* receiver.to_len 0: there is none */
        X509 *receiver_certificate;
        EVP_PKEY *receiver_key;
        int receiver_netns;
        uint8_t receiver_qos;
        const char *filter, *topic;
        unsigned version;
        uint8_t qos;
        size_t size;
        uint64_t messages, window, rate;
        Fault fault;
        uint32_t run;
        usec_t span, drain;
} Arguments;

typedef struct Publisher {
        Peer peer; /* first: an event tells it */
        uint64_t sent, acknowledged;
} Publisher;

typedef struct Run {
        Arguments a;
        PeerTarget target, receiver_target;
        Publisher *publishers;
        unsigned n; /* of them */
        unsigned opened, up;
        Peer receiver;
        bool listening;
        Count *count;
        uint64_t sent, acknowledged, refused, lost_connections;
        usec_t began, last_event, last_acknowledged;
        usec_t cpu, own_cpu; /* of the server and of this */
        char trouble[160];   /* the first */
} Run;

static Run run;
static volatile sig_atomic_t over;

static void on_term(int signal)
{
        over = true;
}

static bool has_receiver(void)
{
        return run.a.receiver.to_len > 0;
}

static void note_trouble(const char *who, const char *what)
{
        if (run.trouble[0] == 0)
                snprintf(run.trouble, sizeof(run.trouble), "%s: %s", who, what);
}

/* ---- publishing ---- */

static uint16_t id_of(uint64_t sequence)
{
        return (uint16_t)(sequence % UINT16_MAX + 1);
}

/* Of the last 65535 that were sent. */
static uint64_t sequence_of(const Publisher *p, uint16_t id)
{
        uint64_t last = p->sent - 1;
        return last - (uint64_t)(id_of(last) - id + UINT16_MAX) % UINT16_MAX;
}

static void write_message(Publisher *p, uint64_t sequence, usec_t sent)
{
        char topic[256];
        const char *mark = strstr(run.a.topic, "%u");
        if (mark)
                snprintf(topic, sizeof(topic), "%.*s%u%s", (int)(mark - run.a.topic), run.a.topic,
                         p->peer.number, mark + 2);
        const CountStamp s = { run.a.run, p->peer.number, sequence, sent };
        uint8_t *to = wire_publish(&p->peer.out, run.a.version, mark ? topic : run.a.topic,
                                   run.a.qos, id_of(sequence), run.a.size);
        count_stamp(&s, to, run.a.size);
}

static void publish(Publisher *p, usec_t due)
{
        uint64_t sequence = p->sent++;
        Fault f = p->peer.number == 0 ? run.a.fault : FAULT_NONE;
        if (f == FAULT_REORDERED && sequence / 2 == FAULTY_SEQUENCE / 2)
                write_message(p, sequence ^ 1, due);
        else if (f != FAULT_LOST || sequence != FAULTY_SEQUENCE)
                write_message(p, sequence, due);
        if (f == FAULT_DUPLICATED && sequence == FAULTY_SEQUENCE)
                write_message(p, sequence, due);
        run.sent++;
}

static bool may_publish(const Publisher *p)
{
        uint64_t received = has_receiver() ? count_received(run.count, p->peer.number) : p->sent;
        uint64_t acknowledged = run.a.qos > 0 ? p->acknowledged : p->sent;
        return p->peer.stage == PEER_UP && p->sent < run.a.messages &&
               p->sent - MIN(received, p->sent) < run.a.window &&
               p->sent - acknowledged < run.a.window && buf_len(&p->peer.out) < OUT_ENOUGH;
}

static void fill(Publisher *p)
{
        uint64_t before = p->sent;
        while (may_publish(p))
                publish(p, now_boottime());
        if (p->sent > before)
                peer_flush(&p->peer);
}

/* The next message's time, when all that were due are out. */
static usec_t publish_due(void)
{
        usec_t now = now_boottime();
        uint64_t all = run.a.messages * run.n;
        for (; run.sent < all; run.sent++) {
                Publisher *p = &run.publishers[run.sent % run.n];
                usec_t due = run.began + run.sent * USEC_PER_SEC / run.a.rate;
                if (due > now)
                        return due;
                if (p->peer.stage == PEER_UP) {
                        publish(p, due);
                        run.sent--;
                }
        }
        return USEC_INFINITY;
}

static void acknowledged(Publisher *p, const WirePacket *packet)
{
        run.last_acknowledged = now_boottime();
        if (packet->reason >= 0x80) {
                run.refused++;
                return;
        }
        run.acknowledged++;
        count_acknowledged(run.count, p->peer.number, sequence_of(p, packet->id));
}

static void on_publisher_packet(Peer *peer, const WirePacket *packet)
{
        Publisher *p = (Publisher *)peer;
        switch (packet->type) {
        case WIRE_PUBACK:
                p->acknowledged++;
                acknowledged(p, packet);
                break;
        case WIRE_PUBREC:
                acknowledged(p, packet);
                if (packet->reason < 0x80)
                        wire_answer(&peer->out, WIRE_PUBREL, packet->id);
                else
                        p->acknowledged++;
                break;
        case WIRE_PUBCOMP:
                p->acknowledged++;
                break;
        case WIRE_CONNECT:
        case WIRE_CONNACK:
        case WIRE_PUBLISH:
        case WIRE_PUBREL:
        case WIRE_SUBSCRIBE:
        case WIRE_SUBACK:
        case WIRE_DISCONNECT:
                break;
        }
}

static void on_publisher_up(Peer *peer)
{
        run.up++;
}

static void on_lost(Peer *peer, const char *why)
{
        run.lost_connections++;
        note_trouble(peer->id, why);
}

static const PeerPort publisher_port = {
        .up = on_publisher_up,
        .packet = on_publisher_packet,
        .lost = on_lost,
};

/* ---- receiving ---- */

static void on_receiver_up(Peer *peer)
{
        wire_subscribe(&peer->out, peer->target->version, 1, run.a.filter, run.a.receiver_qos);
}

static void on_message(Peer *peer, const WirePacket *packet)
{
        CountStamp s;
        CountOutcome o = count_take(run.count, packet->payload, now_boottime(), &s);
        if (packet->qos > 0)
                wire_answer(&peer->out, packet->qos == 1 ? WIRE_PUBACK : WIRE_PUBREC, packet->id);
        if (o == COUNT_FOREIGN)
                return;
        if (s.connection < run.n && run.a.rate == 0)
                fill(&run.publishers[s.connection]);
}

static void on_receiver_packet(Peer *peer, const WirePacket *packet)
{
        switch (packet->type) {
        case WIRE_SUBACK:
                if (packet->reason >= 0x80)
                        errx(2, "the receiver may not subscribe");
                run.listening = true;
                break;
        case WIRE_PUBLISH:
                on_message(peer, packet);
                break;
        case WIRE_PUBREL:
                wire_answer(&peer->out, WIRE_PUBCOMP, packet->id);
                break;
        case WIRE_CONNECT:
        case WIRE_CONNACK:
        case WIRE_PUBACK:
        case WIRE_PUBREC:
        case WIRE_PUBCOMP:
        case WIRE_SUBSCRIBE:
        case WIRE_DISCONNECT:
                break;
        }
}

static const PeerPort receiver_port = {
        .up = on_receiver_up,
        .packet = on_receiver_packet,
        .lost = on_lost,
};

/* ---- all of it ---- */

static void turn(usec_t until)
{
        struct epoll_event events[EVENTS_TURN];
        usec_t now = now_boottime(), left = until > now ? until - now : 0;
        const struct timespec t = { .tv_sec = (time_t)(MIN(left, USEC_PER_SEC) / USEC_PER_SEC),
                                    .tv_nsec =
                                            (long)(MIN(left, USEC_PER_SEC) % USEC_PER_SEC) * 1000 };
        int n = epoll_pwait2(run.target.epoll, events, EVENTS_TURN, &t, NULL);
        for (int i = 0; i < n; i++) {
                Peer *peer = events[i].data.ptr;
                peer_event(peer);
                if (peer != &run.receiver && run.began > 0 && run.a.rate == 0)
                        fill((Publisher *)peer);
        }
        if (n > 0)
                run.last_event = now_boottime();
}

static void open_receiver(usec_t deadline)
{
        const Arguments *a = &run.a;
        run.receiver_target = (PeerTarget){ .load = &a->receiver,
                                            .ctx = load_context(&a->receiver),
                                            .netns = a->receiver_netns,
                                            .version = 5,
                                            .epoll = run.target.epoll };
        peer_open(&run.receiver, &run.receiver_target, &receiver_port, 0, "mqtt-load",
                  a->receiver_certificate, a->receiver_key);
        while (!run.listening && run.lost_connections == 0 && now_boottime() < deadline)
                turn(deadline);
        if (!run.listening)
                errx(2, "no receiver: %s", run.trouble[0] ? run.trouble : "it takes too long");
}

static void open_publishers(usec_t deadline)
{
        while (run.up + run.lost_connections < run.n && now_boottime() < deadline) {
                while (run.opened < run.n &&
                       run.opened - run.up - run.lost_connections < CONNECTING_MAX) {
                        Publisher *p = &run.publishers[run.opened];
                        char id[64];
                        EVP_PKEY *key;
                        X509 *certificate = load_certify(&run.a.load, run.opened, &key);
                        snprintf(id, sizeof(id), "%s%u", run.a.load.name, run.opened);
                        peer_open(&p->peer, &run.target, &publisher_port, run.opened++, id,
                                  certificate, key);
                }
                turn(deadline);
        }
}

static bool is_complete(void)
{
        if (run.lost_connections > 0)
                return true;
        if (run.sent < run.a.messages * run.n)
                return false;
        for (unsigned i = 0; i < run.n && run.a.qos > 0; i++)
                if (run.publishers[i].acknowledged < run.publishers[i].sent)
                        return false;
        for (unsigned i = 0; i < run.n; i++)
                if (buf_len(&run.publishers[i].peer.out) > 0)
                        return false;
        return !has_receiver() || count_total(run.count) >= run.sent;
}

static void drive(usec_t deadline)
{
        run.began = run.last_event = now_boottime();
        for (unsigned i = 0; i < run.n && run.a.rate == 0; i++)
                fill(&run.publishers[i]);
        while (now_boottime() < MIN(deadline, usec_add(run.last_event, run.a.drain)) && !over) {
                usec_t next = run.a.rate > 0 ? publish_due() : USEC_INFINITY;
                for (unsigned i = 0; i < run.n && run.a.rate > 0; i++)
                        if (buf_len(&run.publishers[i].peer.out) > 0)
                                peer_flush(&run.publishers[i].peer);
                if (is_complete())
                        return;
                turn(MIN(next, now_boottime() + 50 * USEC_PER_MSEC));
        }
}

static void receive(usec_t deadline)
{
        puts("ready");
        fflush(stdout);
        usec_t until = MIN(deadline, now_boottime() + run.a.span);
        while (now_boottime() < until && !over && run.lost_connections == 0)
                turn(until);
}

static void print_summary(const CountSummary *s)
{
        usec_t end = has_receiver() ? s->last : run.last_acknowledged;
        usec_t span = run.n == 0 ? s->last - s->first : end > run.began ? end - run.began : 0;
        uint64_t through = has_receiver() ? s->received : run.acknowledged;
        const struct {
                const char *name;
                uint64_t value;
        } numbers[] = {
                { "clients", run.n },
                { "connected", run.up },
                { "lost_connections", run.lost_connections },
                { "sent", run.sent },
                { "acknowledged", run.acknowledged },
                { "refused", run.refused },
                { "received", s->received },
                { "missing", s->missing },
                { "acknowledged_lost", s->acknowledged_lost },
                { "duplicates", s->duplicates },
                { "late", s->late },
                { "foreign", s->foreign },
                { "damaged", s->damaged },
                { "wall_us", span },
                { "per_second", span > 0 ? through * USEC_PER_SEC / span : 0 },
                { "server_cpu_us", run.cpu },
                { "load_cpu_us", run.own_cpu },
                { "min_us", s->min },
                { "mean_us", s->mean },
                { "p50_us", s->p50 },
                { "p90_us", s->p90 },
                { "p99_us", s->p99 },
                { "p999_us", s->p999 },
                { "max_us", s->max },
        };
        printf("{");
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++)
                printf("\"%s\": %llu, ", numbers[i].name, (unsigned long long)numbers[i].value);
        printf("\"trouble\": \"%s\"}\n", run.trouble);
}

static bool conclude(void)
{
        CountSummary s;
        uint64_t *sent = calloc(run.n + 1u, sizeof(*sent));
        if (!sent)
                err(2, "cannot count");
        for (unsigned i = 0; i < run.n; i++)
                sent[i] = run.publishers[i].sent;
        count_summarize(run.count, run.n > 0 ? sent : NULL, &s);
        free(sent);
        if (!has_receiver()) /* nobody looked */
                s.missing = s.acknowledged_lost = 0;
        print_summary(&s);
        return run.up == run.n && run.lost_connections == 0 && run.refused == 0 &&
               run.sent == run.a.messages * run.n && s.missing == 0 && s.duplicates == 0 &&
               s.late == 0 && s.damaged == 0 && (run.a.qos == 0 || run.acknowledged == run.sent);
}

static bool perform(void)
{
        const Arguments *a = &run.a;
        usec_t deadline = now_boottime() + a->load.timeout;
        run.n = a->publish ? a->load.clients : 0;
        run.count = count_new(a->publish ? run.n : RECEIVER_IDS, a->run);
        run.publishers = calloc(run.n + 1u, sizeof(*run.publishers));
        run.target = (PeerTarget){ .load = &a->load,
                                   .ctx = a->publish ? load_context(&a->load) : NULL,
                                   .netns = -1,
                                   .version = a->version,
                                   .epoll = epoll_create1(EPOLL_CLOEXEC) };
        if (!run.publishers || run.target.epoll < 0)
                err(2, "cannot begin");
        if (has_receiver())
                open_receiver(deadline);
        open_publishers(deadline);
        run.cpu = load_cpu(a->load.watch);
        run.own_cpu = load_cpu(getpid());
        if (a->publish && run.up == run.n)
                drive(deadline);
        else if (!a->publish)
                receive(deadline);
        run.cpu = load_cpu(a->load.watch) - run.cpu;
        run.own_cpu = load_cpu(getpid()) - run.own_cpu;
        bool good = conclude();
        for (unsigned i = 0; i < run.opened; i++)
                peer_close(&run.publishers[i].peer);
        if (has_receiver())
                peer_close(&run.receiver);
        SSL_CTX_free(run.target.ctx);
        SSL_CTX_free(run.receiver_target.ctx);
        count_free(run.count);
        free(run.publishers);
        close(run.target.epoll);
        return good;
}

/* ---- the command line ---- */

static void usage(void)
{
        fprintf(stderr, "usage: mqtt-load publish|receive [OPTION]... ADDRESS:PORT "
                        "(the options: mqtt-load.c)\n");
        exit(2);
}

static Fault read_fault(const char *s)
{
        if (streq(s, "lost"))
                return FAULT_LOST;
        if (streq(s, "duplicated"))
                return FAULT_DUPLICATED;
        if (!streq(s, "reordered"))
                usage();
        return FAULT_REORDERED;
}

static int open_netns(const char *path)
{
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                err(2, "%s", path);
        return fd;
}

enum {
        OPTION_CLIENTS = 256,
        OPTION_NAME,
        OPTION_ISSUER,
        OPTION_TRUST,
        OPTION_HOST,
        OPTION_SOURCE,
        OPTION_MQTT,
        OPTION_QOS,
        OPTION_SIZE,
        OPTION_TOPIC,
        OPTION_MESSAGES,
        OPTION_WINDOW,
        OPTION_RATE,
        OPTION_FAULT,
        OPTION_RECEIVER,
        OPTION_NETNS,
        OPTION_PAIR,
        OPTION_RTRUST,
        OPTION_RHOST,
        OPTION_RQOS,
        OPTION_FILTER,
        OPTION_RUN,
        OPTION_SECONDS,
        OPTION_DRAIN,
        OPTION_WATCH,
        OPTION_TIMEOUT,
};

static const struct option options[] = {
        { "clients", required_argument, NULL, OPTION_CLIENTS },
        { "name", required_argument, NULL, OPTION_NAME },
        { "issuer", required_argument, NULL, OPTION_ISSUER },
        { "trust", required_argument, NULL, OPTION_TRUST },
        { "host", required_argument, NULL, OPTION_HOST },
        { "source", required_argument, NULL, OPTION_SOURCE },
        { "mqtt", required_argument, NULL, OPTION_MQTT },
        { "qos", required_argument, NULL, OPTION_QOS },
        { "size", required_argument, NULL, OPTION_SIZE },
        { "topic", required_argument, NULL, OPTION_TOPIC },
        { "messages", required_argument, NULL, OPTION_MESSAGES },
        { "window", required_argument, NULL, OPTION_WINDOW },
        { "rate", required_argument, NULL, OPTION_RATE },
        { "fault", required_argument, NULL, OPTION_FAULT },
        { "receiver", required_argument, NULL, OPTION_RECEIVER },
        { "receiver-netns", required_argument, NULL, OPTION_NETNS },
        { "receiver-pair", required_argument, NULL, OPTION_PAIR },
        { "receiver-trust", required_argument, NULL, OPTION_RTRUST },
        { "receiver-host", required_argument, NULL, OPTION_RHOST },
        { "receiver-qos", required_argument, NULL, OPTION_RQOS },
        { "filter", required_argument, NULL, OPTION_FILTER },
        { "run", required_argument, NULL, OPTION_RUN },
        { "seconds", required_argument, NULL, OPTION_SECONDS },
        { "drain", required_argument, NULL, OPTION_DRAIN },
        { "watch", required_argument, NULL, OPTION_WATCH },
        { "timeout", required_argument, NULL, OPTION_TIMEOUT },
        { 0 },
};

static void take_receiver_option(Arguments *a, int option)
{
        switch (option) {
        case OPTION_NETNS:
                a->receiver_netns = open_netns(optarg);
                break;
        case OPTION_PAIR:
                option_pair(optarg, &a->receiver_certificate, &a->receiver_key);
                break;
        case OPTION_RTRUST:
                a->receiver.trust_file = optarg;
                break;
        case OPTION_RHOST:
                a->receiver.host = optarg;
                break;
        case OPTION_RQOS:
                a->receiver_qos = (uint8_t)option_number(optarg, 0, 2);
                break;
        case OPTION_FILTER:
                a->filter = optarg;
                break;
        default:
                usage();
        }
}

static void take_load_option(Arguments *a, int option)
{
        switch (option) {
        case OPTION_CLIENTS:
                a->load.clients = option_number(optarg, 1, LOAD_CLIENTS_MAX);
                break;
        case OPTION_NAME:
                a->load.name = optarg;
                break;
        case OPTION_ISSUER:
                option_pair(optarg, &a->load.issuer, &a->load.issuer_key);
                break;
        case OPTION_TRUST:
                a->load.trust_file = optarg;
                break;
        case OPTION_HOST:
                a->load.host = optarg;
                break;
        case OPTION_SOURCE:
                a->load.source = option_source(optarg);
                break;
        case OPTION_WATCH:
                a->load.watch = (pid_t)option_number(optarg, 1, INT32_MAX);
                break;
        case OPTION_TIMEOUT:
                a->load.timeout = option_number(optarg, 1, 1200) * USEC_PER_SEC;
                break;
        default:
                take_receiver_option(a, option);
        }
}

/* Returns the receiver's address, where it is one. */
static const char *take_option(Arguments *a, int option)
{
        switch (option) {
        case OPTION_MQTT:
                a->version = option_number(optarg, 3, 5) == 5 ? 5 : 4;
                break;
        case OPTION_QOS:
                a->qos = (uint8_t)option_number(optarg, 0, 2);
                break;
        case OPTION_SIZE:
                a->size = option_number(optarg, COUNT_STAMP_SIZE, 128 * 1024);
                break;
        case OPTION_TOPIC:
                a->topic = optarg;
                break;
        case OPTION_MESSAGES:
                a->messages = option_number(optarg, 1, 10000000);
                break;
        case OPTION_WINDOW:
                a->window = option_number(optarg, 1, 10000);
                break;
        case OPTION_RATE:
                a->rate = option_number(optarg, 1, 1000000);
                break;
        case OPTION_FAULT:
                a->fault = read_fault(optarg);
                break;
        case OPTION_RUN:
                a->run = option_number(optarg, 0, UINT32_MAX);
                break;
        case OPTION_SECONDS:
                a->span = option_number(optarg, 1, 1200) * USEC_PER_SEC;
                break;
        case OPTION_DRAIN:
                a->drain = option_number(optarg, 1, 600) * USEC_PER_SEC;
                break;
        case OPTION_RECEIVER:
                return optarg;
        default:
                take_load_option(a, option);
        }
        return NULL;
}

static bool is_whole(const Arguments *a)
{
        if (a->publish && (!a->load.issuer || !a->load.trust_file))
                return false;
        if (a->receiver.to_len > 0 && (!a->receiver_certificate || !a->receiver.trust_file))
                return false;
        return a->fault == FAULT_NONE || (a->qos == 0 && a->receiver.to_len > 0);
}

int main(int argc, char **argv)
{
        const LoadParams load = { .clients = 100,
                                  .name = "bench",
                                  .version = TLS1_3_VERSION,
                                  .timeout = 60 * USEC_PER_SEC };
        const char *receiver = NULL;
        Arguments *a = &run.a;
        *a = (Arguments){ .load = load,
                          .receiver = load,
                          .receiver_netns = -1,
                          .filter = "#",
                          .topic = "bench",
                          .version = 5,
                          .qos = 1,
                          .size = 256,
                          .messages = 1000,
                          .window = 4,
                          .span = 60 * USEC_PER_SEC,
                          .drain = 5 * USEC_PER_SEC };
        a->run = (uint32_t)now_realtime();
        for (int c; (c = getopt_long(argc, argv, "", options, NULL)) >= 0;) {
                const char *found = take_option(a, c);
                receiver = found ? found : receiver;
        }
        if (argc - optind != 2)
                usage();
        a->publish = streq(argv[optind], "publish");
        if (!a->publish && !streq(argv[optind], "receive"))
                usage();
        if (a->publish)
                option_target(&a->load, argv[optind + 1]);
        else
                receiver = argv[optind + 1];
        if (receiver)
                option_target(&a->receiver, receiver);
        if (!is_whole(a))
                usage();
        signal(SIGPIPE, SIG_IGN);
        signal(SIGTERM, on_term);
        bool good = perform();
        X509_free(a->load.issuer);
        EVP_PKEY_free(a->load.issuer_key);
        return !good;
}
