/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The gateway of the bench: everything is kept, everything is answered later, from a timer. */
#include "coap-bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "daemon/admission.h"
#include "daemon/attest.h"
#include "daemon/submit.h"

/* Both kinds of tickets. */
typedef struct Waiting {
        List link;
        Gateway *gateway;
        LoopSource *timer;
        SubmitDone submitted;
        EvidenceDone appraised;
        void *userdata;
} Waiting;

struct SubmitTicket {
        Waiting w;
};
struct EvidenceTicket {
        Waiting w;
};

static void waiting_end(Waiting *w)
{
        list_remove(&w->link);
        loop_source_free(w->timer);
        free(w);
}

void bench_gateway_done(Gateway *g)
{
        for (List *i; (i = list_first(&g->waiting));)
                waiting_end(LIST_ENTRY(i, Waiting, link));
}

static void appraise(Waiting *w)
{
        char ear[8192];
        for (size_t i = 0; i < sizeof(ear); i++)
                ear[i] = (char)('a' + i % 26);
        EvidenceResult r = { .outcome = (EvidenceOutcome)w->gateway->outcome,
                             .reason = "as the test wants it",
                             .ear = BYTES(ear, w->gateway->ear_len) };
        w->appraised(&r, w->userdata);
}

static int on_due(void *userdata)
{
        Waiting *w = userdata;
        if (w->submitted)
                w->submitted((SubmitOutcome)w->gateway->outcome, w->userdata);
        else if (w->appraised)
                appraise(w);
        waiting_end(w);
        return 0;
}

static Waiting *waiting_new(Gateway *g)
{
        Waiting *w = calloc(1, sizeof(*w));
        if (!w || loop_add_timer(g->loop, &w->timer, LOOP_FATAL, on_due, w) < 0)
                abort();
        w->gateway = g;
        loop_timer_arm_relative(w->timer, g->delay);
        list_append(&g->waiting, &w->link);
        return w;
}

static void keep(List *list, const Stored *what, Bytes payload)
{
        Stored *s = calloc(1, sizeof(*s));
        uint8_t *copy = malloc(payload.len + 1);
        if (!s || !copy)
                abort();
        *s = *what;
        if (payload.len > 0)
                memcpy(copy, payload.data, payload.len);
        s->payload = copy;
        s->len = payload.len;
        list_append(list, &s->link);
}

SubmitOutcome gateway_submit(Gateway *g, const Submission *s, SubmitDone done, void *userdata,
                             SubmitTicket **ret_ticket)
{
        keep(&g->telemetry,
             &(Stored){ .device = strdup(s->device->device->name),
                        .topic = strdup(s->topic),
                        .content_type = s->content_type ? strdup(s->content_type) : NULL,
                        .durable = s->durable },
             s->payload);
        Waiting *w = waiting_new(g);
        w->submitted = done;
        w->userdata = userdata;
        if (ret_ticket)
                *ret_ticket = (SubmitTicket *)w;
        return SUBMIT_STORED;
}

void submit_ticket_cancel(SubmitTicket *t)
{
        t->w.gateway->cancelled++;
        t->w.submitted = NULL;
}

int gateway_evidence(Gateway *g, DeviceState *d, uint16_t content_format, Bytes body,
                     EvidenceDone done, void *userdata, EvidenceTicket **ret_ticket)
{
        keep(&g->evidence, &(Stored){ .device = strdup(d->device->name), .format = content_format },
             body);
        Waiting *w = waiting_new(g);
        w->appraised = done;
        w->userdata = userdata;
        *ret_ticket = (EvidenceTicket *)w;
        return 0;
}

void evidence_ticket_cancel(EvidenceTicket *t)
{
        t->w.gateway->cancelled++;
        t->w.appraised = NULL;
}

int gateway_challenge(Gateway *g, DeviceState *d, size_t len, uint8_t ret[static NONCE_MAX],
                      uint32_t *ret_lifetime)
{
        if (len < NONCE_MIN || len > NONCE_MAX)
                return -ERANGE;
        memset(ret, 0x5a, len);
        *ret_lifetime = 120;
        return 0;
}

Bytes gateway_last_result(Gateway *g, const DeviceState *d)
{
        return streq(d->device->name, "dev1") ? BYTES_LITERAL("header.payload.signature")
                                              : BYTES(NULL, 0);
}

DeviceState *gateway_admit(Gateway *g, const PeerCertificate *certificate,
                           const struct sockaddr_storage *peer, const char *transport,
                           const char **ret_reason)
{
        for (size_t i = 0; i < ELEMENTSOF(g->device); i++)
                if (streq(certificate->common_name, g->config[i].name)) {
                        g->admitted++;
                        return &g->device[i];
                }
        *ret_reason = "unknown-device";
        strcpy(g->admit_reason, *ret_reason);
        return NULL;
}

void gateway_refused(Gateway *g, const struct sockaddr_storage *peer, const char *transport,
                     const char *reason, const char *detail)
{
        g->refused++;
        snprintf(g->refused_reason, sizeof(g->refused_reason), "%s", reason);
        snprintf(g->refused_detail, sizeof(g->refused_detail), "%s", detail);
        const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
        inet_ntop(AF_INET, &in->sin_addr, g->refused_from, sizeof(g->refused_from));
}

void gateway_session_opened(Gateway *g, DeviceState *d)
{
        g->opened++;
        d->sessions++;
}

void gateway_session_closed(Gateway *g, DeviceState *d)
{
        g->closed++;
        d->sessions--;
}
