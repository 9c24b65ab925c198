/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/tpm.h"

#include <assert.h>
#include <errno.h>
#include <tss2/tss2_rc.h>
#include <tss2/tss2_sys.h>

#include "base/list.h"
#include "base/log.h"
#include "platform/fiber.h"
#include "platform/tcti.h"

/* The first command tells whether somebody else sits on the software TPM: no need to wait long. */
#define FIRST_ANSWER_TIMEOUT (10 * USEC_PER_SEC)

struct Tpm {
        Tcti *tcti;
        ESYS_CONTEXT *esys;
        ESYS_TR session; /* salted, of this connection; or ESYS_TR_NONE */
        Loop *loop;
        LoopSource *hand_over;
        bool locked;
        bool confused; /* the library takes no more commands */
        List waiters;
        Fiber *next; /* the lock is its already; it runs when the loop turns */
};

typedef struct Waiter {
        List node;
        Fiber *fiber;
} Waiter;

/* A resource manager answers for the TPM in a layer of its own. */
static bool is_of_tpm(TSS2_RC rc)
{
        TSS2_RC layer = rc & TSS2_RC_LAYER_MASK;
        return layer == TSS2_TPM_RC_LAYER || layer == TSS2_RESMGR_TPM_RC_LAYER;
}

TSS2_RC tpm_rc_base(TSS2_RC rc)
{
        if (!is_of_tpm(rc))
                return rc;
        rc &= ~TSS2_RC_LAYER_MASK;
        return rc & TPM2_RC_FMT1 ? rc & (TPM2_RC_FMT1 | 0x3f) : rc;
}

static const struct {
        TSS2_RC rc;
        int error;
        const char *text;
} known[] = {
        { TPM2_RC_LOCKOUT, -EDQUOT, "the TPM is in dictionary attack lockout: wait, or reset it" },
        { TPM2_RC_NV_RATE, -EDQUOT,
          "the TPM limits how often its memory is written: try again in a minute" },
        { TPM2_RC_BAD_AUTH, -EACCES, "the TPM asks for a password that is not set here" },
        { TPM2_RC_AUTH_FAIL, -EACCES, "the TPM refused the authorization" },
        { TPM2_RC_AUTH_UNAVAILABLE, -EACCES, "this key cannot be used in this way" },
        { TPM2_RC_NV_SPACE, -ENOSPC, "the TPM's non-volatile memory is full" },
        { TPM2_RC_OBJECT_MEMORY, -ENOSPC, "the TPM has no free slot for another key" },
        { TPM2_RC_SESSION_MEMORY, -ENOSPC, "the TPM has no free slot for another session" },
        { TPM2_RC_INTEGRITY, -EIO,
          "the key file is damaged, or not of this TPM (another one, or it was cleared)" },
        { TPM2_RC_FAILURE, -EIO, "the TPM is in failure mode: restart the machine" },
        { TPM2_RC_HIERARCHY, -EIO, "the TPM's owner hierarchy is disabled" },
        { TSS2_ESYS_RC_RSP_AUTH_FAILED, -EPROTO,
          "the answer is not the TPM's: it was changed on its way" },
        { TSS2_ESYS_RC_MALFORMED_RESPONSE, -EPROTO, "the TPM's answer makes no sense" },
};

/* What names a handle or a session that the TPM does not know any more: Part 2, 6.6.3. */
static bool is_lost(TSS2_RC rc)
{
        TSS2_RC base = tpm_rc_base(rc);
        if (!is_of_tpm(rc))
                return false;
        return base == TPM2_RC_INITIALIZE || base == TPM2_RC_HANDLE ||
               (base >= TPM2_RC_REFERENCE_H0 && base <= TPM2_RC_REFERENCE_S6);
}

int tpm_fail(Tpm *t, Reason *reason, TSS2_RC rc, const char *what)
{
        /* After an answer that it does not take, tpm2-tss refuses every command from then on. */
        if (rc != TSS2_RC_SUCCESS && !is_of_tpm(rc) && !tcti_is_foreign(t->tcti))
                t->confused = true;
        if (tcti_error(t->tcti)[0])
                return reason_set(reason, -EIO, "%s: %s", what, tcti_error(t->tcti));
        if (is_lost(rc))
                return reason_set(reason, -ESTALE, "%s: the TPM was reset (0x%x)", what, rc);
        for (size_t i = 0; i < ELEMENTSOF(known); i++)
                if (tpm_rc_base(rc) == known[i].rc)
                        return reason_set(reason, known[i].error, "%s: %s (0x%x)", what,
                                          known[i].text, rc);
        return reason_set(reason, -EIO, "%s: %s (0x%x)", what, Tss2_RC_Decode(rc), rc);
}

/* Nothing here is in use: this is our only connection and it has just begun. */
static int flush_range(Tpm *t, TPM2_HANDLE first, Reason *reason)
{
        _cleanup_esys_ TPMS_CAPABILITY_DATA *found = NULL;
        TSS2_RC rc =
                Esys_GetCapability(t->esys, ESYS_TR_NONE, ESYS_TR_NONE, ESYS_TR_NONE,
                                   TPM2_CAP_HANDLES, first, TPM2_MAX_CAP_HANDLES, NULL, &found);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(t, reason, rc, "Cannot list what is loaded in the TPM");
        TSS2_SYS_CONTEXT *sys = NULL;
        rc = Esys_GetSysContext(t->esys, &sys);
        for (uint32_t i = 0; rc == TSS2_RC_SUCCESS && i < found->data.handles.count; i++)
                rc = Tss2_Sys_FlushContext(sys, found->data.handles.handle[i]);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(t, reason, rc, "Cannot flush what is loaded in the TPM");
        if (found->data.handles.count > 0)
                log_debug("Flushed %u leftover objects from the TPM.", found->data.handles.count);
        return 0;
}

static int start_software_tpm(Tpm *t, Reason *reason)
{
        TSS2_RC rc = Esys_Startup(t->esys, TPM2_SU_CLEAR);
        if (rc != TSS2_RC_SUCCESS && rc != TPM2_RC_INITIALIZE)
                return tpm_fail(t, reason, rc, "Cannot start the TPM up");
        static const TPM2_HANDLE ranges[] = { TPM2_TRANSIENT_FIRST, TPM2_LOADED_SESSION_FIRST,
                                              TPM2_ACTIVE_SESSION_FIRST };
        for (size_t i = 0; i < ELEMENTSOF(ranges); i++) {
                int r = flush_range(t, ranges[i], reason);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* On a connection that has just begun. */
static int start(Tpm *t, Reason *reason)
{
        t->session = ESYS_TR_NONE;
        tcti_set_timeout(t->tcti, FIRST_ANSWER_TIMEOUT);
        TSS2_RC rc = Esys_Initialize(&t->esys, tcti_context(t->tcti), NULL);
        if (rc != TSS2_RC_SUCCESS)
                return tpm_fail(t, reason, rc, "Cannot talk to the TPM");
        int r = tcti_is_software(t->tcti) ? start_software_tpm(t, reason) : 0;
        tcti_set_timeout(t->tcti, TCTI_ANSWER_TIMEOUT);
        return r;
}

int tpm_open(const char *tcti, Tpm **ret, Reason *reason)
{
        _cleanup_(tpm_freep) Tpm *t = calloc(1, sizeof(*t));
        if (!t)
                return reason_set(reason, -ENOMEM, "Out of memory");
        list_init(&t->waiters);
        /* tpm2-tss writes every refusal to standard error; ours are sentences. Who debugs sets it.
         */
        setenv("TSS2_LOG", "all+NONE", 0);
        int r = tcti_new(tcti, &t->tcti, reason);
        if (r == 0)
                r = start(t, reason);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

Tpm *tpm_free(Tpm *t)
{
        if (!t)
                return NULL;
        assert(list_empty(&t->waiters) && !t->next);
        loop_source_free(t->hand_over);
        Esys_Finalize(&t->esys);
        tcti_free(t->tcti);
        free(t);
        return NULL;
}

/* On the loop's own stack: a fiber must not resume another. */
static int on_hand_over(void *userdata)
{
        Tpm *t = userdata;
        Fiber *f = TAKE_PTR(t->next);
        if (f)
                fiber_resume(f);
        return 0;
}

int tpm_attach(Tpm *t, Loop *loop)
{
        int r = loop_add_deferred(loop, &t->hand_over, LOOP_FATAL, on_hand_over, t);
        if (r < 0)
                return r;
        if (tcti_is_foreign(t->tcti))
                log_warning("This TCTI blocks: every TPM command holds up the whole daemon. "
                            "Use device: or swtpm:.");
        t->loop = loop;
        tcti_attach(t->tcti, loop);
        return 0;
}

bool tpm_busy(const Tpm *t)
{
        return t->locked;
}

void tpm_abandon(Tpm *t)
{
        tcti_abandon(t->tcti);
}

int tpm_lock(Tpm *t, Reason *reason)
{
        if (!t->locked) {
                t->locked = true;
                return 0;
        }
        if (!fiber_current() || !t->loop)
                return reason_set(reason, -EBUSY, "The TPM is in use");
        Waiter w = { .fiber = fiber_current() };
        list_append(&t->waiters, &w.node);
        fiber_yield();
        return 0;
}

void tpm_unlock(Tpm *t)
{
        List *first = list_first(&t->waiters);
        if (!first) {
                t->locked = false;
                return;
        }
        list_remove(first);
        t->next = LIST_ENTRY(first, Waiter, node)->fiber;
        int r = loop_defer(t->hand_over);
        assert(r >= 0); /* fails only in a process that was forked off */
}

bool tpm_broken(const Tpm *t)
{
        return !t->esys || t->confused || tcti_broken(t->tcti);
}

int tpm_reconnect(Tpm *t, Reason *reason)
{
        Esys_Finalize(&t->esys);
        t->confused = false;
        int r = tcti_reconnect(t->tcti, reason);
        return r < 0 ? r : start(t, reason);
}

ESYS_CONTEXT *tpm_esys(Tpm *t)
{
        return t->esys;
}

int tpm_session_start(Tpm *t, ESYS_TR storage, Reason *reason)
{
        static const TPMT_SYM_DEF aes = { .algorithm = TPM2_ALG_AES,
                                          .keyBits.aes = 128,
                                          .mode.aes = TPM2_ALG_CFB };
        TSS2_RC rc = Esys_StartAuthSession(t->esys, storage, ESYS_TR_NONE, ESYS_TR_NONE,
                                           ESYS_TR_NONE, ESYS_TR_NONE, NULL, TPM2_SE_HMAC, &aes,
                                           TPM2_ALG_SHA256, &t->session);
        if (rc == TSS2_RC_SUCCESS)
                return 0;
        t->session = ESYS_TR_NONE;
        return tpm_fail(t, reason, rc, "Cannot start a session with the TPM");
}

ESYS_TR tpm_session(Tpm *t, TpmProtect protect)
{
        const TPMA_SESSION all = TPM_PROTECT_BOTH | TPM_PROTECT_WATCH;
        if (t->session == ESYS_TR_NONE ||
            Esys_TRSess_SetAttributes(t->esys, t->session, (TPMA_SESSION)protect, all) !=
                    TSS2_RC_SUCCESS)
                return protect == TPM_PROTECT_WATCH ? ESYS_TR_NONE : ESYS_TR_PASSWORD;
        return t->session;
}

bool tpm_has_session(const Tpm *t)
{
        return t->session != ESYS_TR_NONE;
}
