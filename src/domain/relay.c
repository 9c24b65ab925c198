/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "domain/relay.h"

#include <errno.h>
#include <stdio.h>

#include "base/str.h"
#include "domain/device.h"
#include "proto/cbor-writer.h"
#include "proto/cmw.h"
#include "proto/cose.h"
#include "sallyport/attestation.h"

#define HEADER_MAX ((size_t)32 * 1024)
#define LEAD_MAX   ((size_t)16 * 1024)

#define NONCE_MIN 8
#define NONCE_MAX 64

/* Keys of the lead claims (RFC 9711), in the order of their encodings. */
enum {
        CLAIM_NONCE = 10,
        CLAIM_UEID = 256,
        CLAIM_PROFILE = 265,
        CLAIM_BOOT_SEED = 268,
        CLAIM_SOFTWARE_NAME = 270,
        CLAIM_SOFTWARE_VERSION = 271,

        TAG_UCCS = 601, /* RFC 9781 */
        UEID_RAND = 0x01,
        KEY_DIGEST = 32,
};

/* Names in the order of their encodings: the shorter first. */
static int compare_devices(const void *a, const void *b)
{
        const char *x = (*(const RelayDevice *const *)a)->name;
        const char *y = (*(const RelayDevice *const *)b)->name;
        size_t lx = strlen(x), ly = strlen(y);
        return lx != ly ? (lx < ly ? -1 : 1) : memcmp(x, y, lx);
}

/* {name: [nonce, received, age]}: how fresh each item is, said by who issued the nonces. */
static void put_freshness(CborWriter *w, const RelayReport *report)
{
        const RelayDevice *sorted[RELAY_DEVICES_MAX];

        for (size_t i = 0; i < report->n_devices; i++)
                sorted[i] = &report->devices[i];
        if (report->n_devices > 0)
                qsort(sorted, report->n_devices, sizeof(sorted[0]), compare_devices);
        cbor_put_map(w, report->n_devices);
        for (size_t i = 0; i < report->n_devices; i++) {
                cbor_put_str(w, sorted[i]->name);
                cbor_put_array(w, 3);
                cbor_put_bytes(w, sorted[i]->nonce);
                cbor_put_uint(w, sorted[i]->received / USEC_PER_SEC);
                cbor_put_uint(w, sorted[i]->age / USEC_PER_SEC);
        }
}

static int write_lead(const RelayReport *report, Buf *ret)
{
        uint8_t ueid[1 + KEY_DIGEST] = { UEID_RAND };
        CborWriter w = cbor_writer(ret);

        memcpy(ueid + 1, report->spki_sha256, KEY_DIGEST);
        cbor_put_tag(&w, TAG_UCCS);
        cbor_put_map(&w, 7);
        cbor_put_int(&w, CLAIM_NONCE);
        cbor_put_bytes(&w, report->nonce);
        cbor_put_int(&w, CLAIM_UEID);
        cbor_put_bytes(&w, BYTES(ueid, sizeof(ueid)));
        cbor_put_int(&w, CLAIM_PROFILE);
        cbor_put_str(&w, SALLYPORT_LEAD_PROFILE);
        cbor_put_int(&w, CLAIM_BOOT_SEED);
        cbor_put_bytes(&w, report->boot_id);
        cbor_put_int(&w, CLAIM_SOFTWARE_NAME);
        cbor_put_str(&w, "sallyport");
        cbor_put_int(&w, CLAIM_SOFTWARE_VERSION);
        cbor_put_array(&w, 1);
        cbor_put_str(&w, report->version);
        cbor_put_int(&w, SALLYPORT_CLAIM_FRESHNESS);
        put_freshness(&w, report);
        return w.error;
}

/* What the collection is made of, before it is sorted. */
typedef struct Items {
        CmwEntry entries[2 + 2 * RELAY_DEVICES_MAX];
        char ear_labels[RELAY_DEVICES_MAX][DEVICE_NAME_MAX + sizeof(SALLYPORT_LABEL_EAR_SUFFIX)];
        size_t n;
} Items;

static void add_item(Items *items, const char *label, const char *media_type,
                     uint16_t content_format, Bytes value, uint32_t indicator)
{
        items->entries[items->n++] =
                (CmwEntry){ label, media_type, content_format, value, indicator };
}

static int add_device(Items *items, const RelayDevice *d, size_t i)
{
        if (!device_name_valid(d->name))
                return -EINVAL;
        add_item(items, d->name, d->content_format > 0 ? NULL : d->media_type, d->content_format,
                 d->evidence, SALLYPORT_CMW_EVIDENCE);
        if (d->ear.len == 0)
                return 0;
        snprintf(items->ear_labels[i], sizeof(items->ear_labels[i]), "%s%s", d->name,
                 SALLYPORT_LABEL_EAR_SUFFIX);
        add_item(items, items->ear_labels[i], SALLYPORT_MEDIA_EAR_JWT, 0, d->ear,
                 SALLYPORT_CMW_RESULTS);
        return 0;
}

static int write_payload(const RelayReport *report, Buf *ret)
{
        _cleanup_buf_ Buf lead = BUF_INIT(LEAD_MAX);
        _cleanup_buf_ Buf gateway = BUF_INIT(LEAD_MAX);
        Items items = { 0 };

        int r = write_lead(report, &lead);
        if (r < 0)
                return r;
        add_item(&items, SALLYPORT_LABEL_LEAD, SALLYPORT_MEDIA_LEAD, 0, buf_view(&lead), 0);
        if (report->gateway) {
                r = parsec_evidence_write(report->gateway, &gateway);
                if (r < 0)
                        return r;
                add_item(&items, SALLYPORT_LABEL_GATEWAY, SALLYPORT_MEDIA_PARSEC_TPM, 0,
                         buf_view(&gateway), SALLYPORT_CMW_EVIDENCE);
        }
        for (size_t i = 0; i < report->n_devices; i++) {
                r = add_device(&items, &report->devices[i], i);
                if (r < 0)
                        return r;
        }
        return cmw_collection_write(SALLYPORT_COMPOSITE_TYPE, items.entries, items.n, ret);
}

void relay_envelope_done(RelayEnvelope *e)
{
        buf_done(&e->header);
        buf_done(&e->payload);
        buf_done(&e->tbs);
}

int relay_begin(const RelayReport *report, const Bytes *chain, size_t n_chain, RelayEnvelope *ret)
{
        *ret = (RelayEnvelope){ .header = BUF_INIT(HEADER_MAX),
                                .payload = BUF_INIT(RELAY_SIZE_MAX),
                                .tbs = BUF_INIT(RELAY_SIZE_MAX + HEADER_MAX + 64) };
        if (report->n_devices > RELAY_DEVICES_MAX || report->nonce.len < NONCE_MIN ||
            report->nonce.len > NONCE_MAX)
                return -EINVAL;
        int r = write_payload(report, &ret->payload);
        if (r >= 0)
                r = cose_protected_write(COSE_ES256, SALLYPORT_CF_CMW_CBOR, chain, n_chain,
                                         &ret->header);
        if (r >= 0)
                r = cose_sign1_tbs(buf_view(&ret->header), BYTES(NULL, 0), buf_view(&ret->payload),
                                   &ret->tbs);
        if (r < 0)
                relay_envelope_done(ret);
        return r;
}

int relay_finish(const RelayEnvelope *e, Bytes signature, Buf *ret)
{
        if (signature.len != 64)
                return -EINVAL;
        return cose_sign1_write(buf_view(&e->header), buf_view(&e->payload), signature, ret);
}
