/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/operator-token.h"

#include <errno.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "platform/operator-pin.h"

#define SLOTS_MAX      64
#define ATTRIBUTES_MAX 8

struct OperatorToken {
        P11KitUri *parsed;
        char *uri;
        CK_FUNCTION_LIST *own;       /* loaded by module-path= */
        CK_FUNCTION_LIST **registry; /* otherwise: NULL-terminated */
        size_t n_found;
        CK_FUNCTION_LIST *module;
        CK_SLOT_ID slot;
        char *label;
        CK_SESSION_HANDLE session;
        OperatorPin pin;
};

OperatorToken *operator_token_free(OperatorToken *t)
{
        if (!t)
                return NULL;
        if (t->session)
                t->module->C_CloseSession(t->session); /* the last one logs out */
        if (t->own) {
                p11_kit_module_finalize(t->own);
                p11_kit_module_release(t->own);
        }
        if (t->registry)
                p11_kit_modules_finalize_and_release(t->registry);
        p11_kit_uri_free(t->parsed);
        operator_pin_wipe(&t->pin);
        free(t->label);
        free(t->uri);
        free(t);
        return NULL;
}

/* The sentences have nothing of a URI that was not understood: a PIN may be anywhere in it. */
static int parse(const char *uri, OperatorToken *t, Reason *reason)
{
        t->parsed = p11_kit_uri_new();
        t->uri = strndup(uri, strcspn(uri, "?"));
        if (!t->parsed || !t->uri)
                return reason_set(reason, -ENOMEM, "Out of memory");
        int r = p11_kit_uri_parse(uri, P11_KIT_URI_FOR_ANY, t->parsed);
        if (r != P11_KIT_URI_OK)
                return reason_set(reason, -EINVAL, "This is no PKCS#11 URI (RFC 7512): %s",
                                  p11_kit_uri_message(r));
        if (p11_kit_uri_any_unrecognized(t->parsed))
                return reason_set(reason, -EINVAL,
                                  "The PKCS#11 URI has an attribute that is not known");
        return 0;
}

static int load_modules(OperatorToken *t, Reason *reason)
{
        const char *path = p11_kit_uri_get_module_path(t->parsed);
        p11_kit_be_quiet(); /* a module that does not load is no news unless it is missed */
        if (!path) {
                t->registry = p11_kit_modules_load_and_initialize(0);
                return t->registry ? 0
                                   : reason_set(reason, -EIO, "Cannot load PKCS#11 modules: %s",
                                                strempty(p11_kit_message()));
        }
        CK_FUNCTION_LIST *module = p11_kit_module_load(path, 0);
        if (!module)
                return reason_set(reason, -ENOENT, "Cannot load the PKCS#11 module %s", path);
        CK_RV rv = p11_kit_module_initialize(module);
        if (rv != CKR_OK) {
                p11_kit_module_release(module);
                return reason_set(reason, -EIO, "Cannot start the PKCS#11 module %s: %s", path,
                                  p11_kit_strerror(rv));
        }
        t->own = module;
        return 0;
}

static bool module_matches(const OperatorToken *t, CK_FUNCTION_LIST *module)
{
        CK_INFO info;
        const char *wanted = p11_kit_uri_get_module_name(t->parsed);
        char *name = wanted ? p11_kit_module_get_name(module) : NULL;
        bool named = !wanted || (name && streq(name, wanted));
        free(name);
        return named && module->C_GetInfo(&info) == CKR_OK &&
               p11_kit_uri_match_module_info(t->parsed, &info) == 1;
}

/* Stores of certificates, such as the system's trust, are tokens too. */
static bool signs(CK_FUNCTION_LIST *module, CK_SLOT_ID slot, const CK_TOKEN_INFO *info)
{
        CK_MECHANISM_INFO ecdsa;
        return info->flags & CKF_TOKEN_INITIALIZED &&
               module->C_GetMechanismInfo(slot, CKM_ECDSA, &ecdsa) == CKR_OK &&
               ecdsa.flags & CKF_SIGN;
}

static bool token_matches(const OperatorToken *t, CK_FUNCTION_LIST *module, CK_SLOT_ID slot,
                          CK_TOKEN_INFO *ret)
{
        CK_SLOT_INFO info;
        CK_SLOT_ID wanted = p11_kit_uri_get_slot_id(t->parsed);
        return (wanted == (CK_SLOT_ID)-1 || wanted == slot) &&
               module->C_GetSlotInfo(slot, &info) == CKR_OK &&
               p11_kit_uri_match_slot_info(t->parsed, &info) == 1 &&
               module->C_GetTokenInfo(slot, ret) == CKR_OK &&
               p11_kit_uri_match_token_info(t->parsed, ret) == 1 && signs(module, slot, ret);
}

/* Labels are padded with blanks, and somebody else's text. */
static char *label_of(const CK_TOKEN_INFO *info)
{
        size_t len = p11_kit_space_strlen(info->label, sizeof(info->label));
        return str_escape(BYTES(info->label, len), len);
}

static int look_in(OperatorToken *t, CK_FUNCTION_LIST *module)
{
        CK_SLOT_ID slots[SLOTS_MAX];
        CK_ULONG n = SLOTS_MAX;
        CK_TOKEN_INFO info;
        if (!module_matches(t, module) || module->C_GetSlotList(CK_TRUE, slots, &n) != CKR_OK)
                return 0;
        for (CK_ULONG i = 0; i < n; i++) {
                if (!token_matches(t, module, slots[i], &info))
                        continue;
                if (t->n_found++ > 0)
                        continue;
                t->module = module;
                t->slot = slots[i];
                t->label = label_of(&info);
                if (!t->label)
                        return -ENOMEM;
        }
        return 0;
}

static int find_token(OperatorToken *t, Reason *reason)
{
        int r = t->own ? look_in(t, t->own) : 0;
        for (CK_FUNCTION_LIST **m = t->registry; r == 0 && m && *m; m++)
                r = look_in(t, *m);
        if (r < 0)
                return reason_set(reason, r, "Out of memory");
        if (t->n_found == 0)
                return reason_set(reason, -ENOENT,
                                  "There is no token for %s that can sign with ECDSA", t->uri);
        if (t->n_found > 1)
                return reason_set(reason, -ENOTUNIQ,
                                  "There are %zu tokens for %s: name one by token= or serial=",
                                  t->n_found, t->uri);
        return 0;
}

static int open_session(OperatorToken *t, Reason *reason)
{
        CK_RV rv = t->module->C_OpenSession(t->slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
        if (rv != CKR_OK) {
                t->session = 0;
                return reason_set(reason, -EIO, "Cannot speak with the token \"%s\": %s", t->label,
                                  p11_kit_strerror(rv));
        }
        return 0;
}

int operator_token_open(const char *uri, OperatorToken **ret, Reason *reason)
{
        _cleanup_(operator_token_freep) OperatorToken *t = calloc(1, sizeof(*t));
        if (!t)
                return reason_set(reason, -ENOMEM, "Out of memory");
        int r = parse(uri, t, reason);
        if (r == 0)
                r = load_modules(t, reason);
        if (r == 0)
                r = find_token(t, reason);
        if (r == 0)
                r = open_session(t, reason);
        if (r == 0)
                *ret = TAKE_PTR(t);
        return r;
}

CK_FUNCTION_LIST *operator_token_module(const OperatorToken *t)
{
        return t->module;
}

CK_SESSION_HANDLE operator_token_session(const OperatorToken *t)
{
        return t->session;
}

const char *operator_token_uri(const OperatorToken *t)
{
        return t->uri;
}

const char *operator_token_label(const OperatorToken *t)
{
        return t->label;
}

static CK_FLAGS flags_now(const OperatorToken *t)
{
        CK_TOKEN_INFO info;
        return t->module->C_GetTokenInfo(t->slot, &info) == CKR_OK ? info.flags : 0;
}

static int refused(const OperatorToken *t, CK_RV rv, Reason *reason)
{
        CK_FLAGS flags = flags_now(t);
        if (rv == CKR_PIN_LOCKED || flags & CKF_USER_PIN_LOCKED)
                return reason_set(reason, -EKEYREJECTED,
                                  "The PIN of the token \"%s\" is locked after too many wrong ones",
                                  t->label);
        if (rv == CKR_PIN_INCORRECT || rv == CKR_PIN_LEN_RANGE || rv == CKR_PIN_INVALID)
                return reason_set(reason, -EKEYREJECTED,
                                  "This is not the PIN of the token \"%s\"%s", t->label,
                                  flags & CKF_USER_PIN_FINAL_TRY ? "; one more wrong one locks it"
                                                                 : "");
        return reason_set(reason, -EKEYREJECTED, "The token \"%s\" does not let us in: %s",
                          t->label, p11_kit_strerror(rv));
}

/* Nothing is asked that cannot help. */
static int get_pin(OperatorToken *t, CK_FLAGS flags, Reason *reason)
{
        _cleanup_free_ char *question = NULL;
        if (t->pin.known || flags & CKF_PROTECTED_AUTHENTICATION_PATH)
                return 0;
        if (flags & CKF_USER_PIN_LOCKED)
                return refused(t, CKR_PIN_LOCKED, reason);
        if (asprintf(&question, "PIN of the token \"%s\"%s: ", t->label,
                     flags & CKF_USER_PIN_FINAL_TRY ? " (a wrong one locks it)" : "") < 0) {
                question = NULL;
                return reason_set(reason, -ENOMEM, "Out of memory");
        }
        return operator_pin_get(p11_kit_uri_get_pin_value(t->parsed),
                                p11_kit_uri_get_pin_source(t->parsed), question, &t->pin, reason);
}

/* Without a PIN the token has a keypad of its own. */
static int log_in(OperatorToken *t, CK_USER_TYPE user, CK_FLAGS flags, Reason *reason)
{
        int r = get_pin(t, flags, reason);
        if (r < 0)
                return r;
        CK_RV rv = t->module->C_Login(t->session, user,
                                      t->pin.known ? (CK_UTF8CHAR *)t->pin.text : NULL, t->pin.len);
        return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? 0 : refused(t, rv, reason);
}

int operator_token_login(OperatorToken *t, Reason *reason)
{
        CK_FLAGS flags = flags_now(t);
        return flags & CKF_LOGIN_REQUIRED ? log_in(t, CKU_USER, flags, reason) : 0;
}

int operator_token_login_again(OperatorToken *t, Reason *reason)
{
        return log_in(t, CKU_CONTEXT_SPECIFIC, flags_now(t), reason);
}

/* What the URI says of the object; which class is wanted the caller knows better. */
static CK_ULONG make_template(const OperatorToken *t, CK_OBJECT_CLASS *class,
                              CK_ATTRIBUTE ret[static ATTRIBUTES_MAX])
{
        CK_ULONG n_given, n = 0;
        CK_ATTRIBUTE *given = p11_kit_uri_get_attributes(t->parsed, &n_given);
        ret[n++] = (CK_ATTRIBUTE){ CKA_CLASS, class, sizeof(*class) };
        for (CK_ULONG i = 0; i < n_given && n < ATTRIBUTES_MAX; i++)
                if (given[i].type != CKA_CLASS)
                        ret[n++] = given[i];
        return n;
}

int operator_token_find(OperatorToken *t, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE *ret,
                        Reason *reason)
{
        CK_ATTRIBUTE template[ATTRIBUTES_MAX];
        CK_ULONG n = make_template(t, &class, template), found = 0;
        CK_OBJECT_HANDLE objects[2];
        CK_RV rv = t->module->C_FindObjectsInit(t->session, template, n);
        if (rv == CKR_OK) {
                rv = t->module->C_FindObjects(t->session, objects, ELEMENTSOF(objects), &found);
                t->module->C_FindObjectsFinal(t->session);
        }
        if (rv != CKR_OK)
                return reason_set(reason, -EIO, "Cannot search the token \"%s\": %s", t->label,
                                  p11_kit_strerror(rv));
        if (found > 1)
                return reason_set(reason, -ENOTUNIQ,
                                  "The token \"%s\" has several keys for %s: name one by id=",
                                  t->label, t->uri);
        if (found == 1)
                *ret = objects[0];
        return (int)found;
}
