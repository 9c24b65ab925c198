/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From a PDU to a request with a whole body. libcoap's own block-wise transfer is switched off:
 * bodies are bounded here in size, in time, for each peer and in all. */
#include "platform/coapserver-internal.h"

#include "base/log.h"

/* From a body's first block to its last. */
#define BODY_LIFETIME (60 * USEC_PER_SEC)
/* Unfinished bodies of all peers together. */
#define BODIES_MAX ((size_t)8 << 20)

static uint32_t option_uint(Bytes v)
{
        uint32_t n = 0;
        for (size_t i = 0; i < v.len; i++)
                n = n << 8 | v.data[i];
        return n;
}

static void fault(CoapRequest *r, uint8_t code, const char *text)
{
        if (r->fault != 0)
                return;
        r->fault = code;
        r->fault_text = text;
}

static void add_segment(CoapRequest *r, Bytes *list, size_t *n, Bytes v)
{
        if (*n < COAPSERVER_SEGMENTS_MAX)
                list[(*n)++] = v;
        else
                fault(r, COAPSERVER_CODE(4, 0), "Too many path segments or queries.");
}

/* An option that is too long, or there a second time, counts as one that is not known (RFC 7252
 * sections 5.4.3 and 5.4.5): false. */
static bool set_format(int *format, Bytes v)
{
        if (v.len > 2 || *format != COAPSERVER_NONE)
                return false;
        *format = (int)option_uint(v);
        return true;
}

static void set_block(CoapRequest *r, bool *has, Block *block, Bytes v)
{
        if (*has || !block_decode(v, block))
                fault(r, COAPSERVER_CODE(4, 0), "Unusable Block option.");
        *has = true;
}

/* Everything critical that is not named here is refused (RFC 7252 section 5.4.1), also what
 * libcoap would let pass, like If-Match. */
static void read_option(CoapTicket *x, CoapRequest *r, uint16_t number, Bytes v)
{
        switch (number) {
        case COAP_OPTION_URI_HOST:
        case COAP_OPTION_URI_PORT:
                break; /* one host, whatever its name */
        case COAP_OPTION_URI_PATH:
                add_segment(r, r->path, &r->n_path, v);
                break;
        case COAP_OPTION_URI_QUERY:
                add_segment(r, r->query, &r->n_query, v);
                break;
        case COAP_OPTION_CONTENT_FORMAT:
                set_format(&r->content_format, v); /* elective: then it is ignored */
                break;
        case COAP_OPTION_ACCEPT:
                if (!set_format(&r->accept, v))
                        fault(r, COAPSERVER_CODE(4, 2), "Unusable Accept option.");
                break;
        case COAP_OPTION_BLOCK1:
                set_block(r, &x->has_block1, &x->block1, v);
                break;
        case COAP_OPTION_BLOCK2:
                set_block(r, &x->has_block2, &x->block2, v);
                break;
        case COAP_OPTION_NORESPONSE:
                x->suppress = (uint8_t)option_uint(v);
                break;
        default:
                if (number & 1)
                        fault(r, COAPSERVER_CODE(4, 2), "A critical option is not supported.");
        }
}

static void read_pdu(CoapTicket *x, const coap_pdu_t *pdu, CoapRequest *r)
{
        *r = (CoapRequest){ .method = (CoapMethod)coap_pdu_get_code(pdu),
                            .content_format = COAPSERVER_NONE,
                            .accept = COAPSERVER_NONE,
                            .confirmable = x->confirmable };
        coap_opt_iterator_t i;
        coap_option_iterator_init(pdu, &i, COAP_OPT_ALL);
        for (coap_opt_t *o; (o = coap_option_next(&i));)
                read_option(x, r, i.number, BYTES(coap_opt_value(o), coap_opt_length(o)));
        size_t len = 0;
        const uint8_t *data = NULL;
        if (coap_get_data(pdu, &len, &data))
                r->body = BYTES(data, len);
}

/* FNV-1a: it tells one transfer of a peer from another of the same peer, nothing hangs on it. */
static uint64_t mix(uint64_t key, Bytes v)
{
        for (size_t i = 0; i < v.len; i++)
                key = (key ^ v.data[i]) * 0x100000001b3;
        return (key ^ 0xff ^ v.len << 8) * 0x100000001b3;
}

static uint64_t request_key(const CoapRequest *r)
{
        uint64_t key = 0xcbf29ce484222325 ^ (uint64_t)r->method;
        for (size_t i = 0; i < r->n_path; i++)
                key = mix(key, r->path[i]);
        for (size_t i = 0; i < r->n_query; i++)
                key = mix(key, r->query[i]);
        return key;
}

void coapserver_body_drop(CoapPeer *p)
{
        p->server->body_bytes -= buf_len(&p->body.buf);
        block_body_drop(&p->body);
        list_remove(&p->body_link);
}

static BlockOutcome add_to_body(CoapPeer *p, CoapTicket *x, const CoapRequest *r)
{
        CoapServer *s = p->server;
        if (s->body_bytes + r->body.len > BODIES_MAX)
                return BLOCK_NO_MEMORY;
        if (x->block1.num == 0) {
                coapserver_body_drop(p);
                p->body_until = usec_add(x->received, BODY_LIFETIME);
                list_append(&s->bodies, &p->body_link);
                coapserver_arm(s);
        }
        uint64_t key = x->key ^ (uint64_t)(r->content_format + 1) << 32;
        size_t before = buf_len(&p->body.buf);
        BlockOutcome outcome = block_body_add(&p->body, &x->block1, key, r->body);
        s->body_bytes = s->body_bytes - before + buf_len(&p->body.buf);
        return outcome;
}

/* True when the request is whole (or broken) and goes up; false when more blocks are to come. */
static bool collect(CoapPeer *p, CoapTicket *x, CoapRequest *r)
{
        switch (add_to_body(p, x, r)) {
        case BLOCK_MORE:
                coapserver_respond(x, &(CoapResponse){ .code = COAPSERVER_CODE(2, 31),
                                                       .content_format = COAPSERVER_NONE,
                                                       .max_age = COAPSERVER_NONE });
                return false;
        case BLOCK_COMPLETE:
                r->body = buf_view(&p->body.buf);
                break;
        case BLOCK_INCOMPLETE:
                fault(r, COAPSERVER_CODE(4, 8), "A block of this body is missing.");
                break;
        case BLOCK_TOO_LARGE:
                fault(r, COAPSERVER_CODE(4, 13), "The body is too large.");
                break;
        case BLOCK_MALFORMED:
                fault(r, COAPSERVER_CODE(4, 0), "The payload does not fill its block.");
                break;
        case BLOCK_NO_MEMORY:
                fault(r, COAPSERVER_CODE(5, 3), "Too many bodies are on their way.");
                break;
        }
        return true;
}

/* A later block of the response that this peer is fetching. */
static bool serve_large(CoapPeer *p, CoapTicket *x)
{
        LargeBody *large = &p->large;
        if (!x->has_block2 || x->block2.num == 0 || !large->data || large->key != x->key)
                return false;
        coapserver_respond(x, &(CoapResponse){ .code = large->code,
                                               .content_format = large->content_format,
                                               .max_age = COAPSERVER_NONE,
                                               .body = BYTES(large->data, large->len) });
        return true;
}

static void hand_up(CoapPeer *p, CoapTicket *x, CoapRequest *r)
{
        CoapServer *s = p->server;
        bool later_block = x->has_block2 && x->block2.num > 0;
        if (later_block && r->method != COAPSERVER_GET)
                fault(r, COAPSERVER_CODE(4, 8), "The response is not kept any more.");
        if (r->fault != 0)
                x->has_block2 = false;
        s->stats.requests++;
        s->port.request(x, r, p->data, s->port.userdata);
}

void coapserver_request(CoapPeer *p, const coap_pdu_t *pdu)
{
        usec_t now = loop_now(p->server->loop);
        coapserver_heard(p);
        CoapTicket *x = exchange_find(p, coap_pdu_get_mid(pdu), now);
        if (x) {
                exchange_repeat(x);
                return;
        }
        x = exchange_new(p, pdu, now);
        if (!x) /* a confirmable request comes again when there is room */
                return;
        CoapRequest r;
        read_pdu(x, pdu, &r);
        x->key = request_key(&r);
        if (r.fault == 0 && r.body.len > p->server->options.max_body)
                fault(&r, COAPSERVER_CODE(4, 13), "The body is too large.");
        if (r.fault == 0 && serve_large(p, x))
                return;
        if (r.fault == 0 && x->has_block1 && !collect(p, x, &r))
                return;
        hand_up(p, x, &r);
        if (x->has_block1)
                coapserver_body_drop(p);
}
