/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A PKCS#11 module in front of another one (HOSTILE_MODULE), whose token does the one thing that
 * HOSTILE_TOKEN says: what SoftHSM never does, and what no token should. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static CK_FUNCTION_LIST *real, ours;

static int is(const char *mode)
{
        const char *wanted = getenv("HOSTILE_TOKEN");
        return wanted && strcmp(wanted, mode) == 0;
}

/* A PIN that must not be tried is one try less. */
static void require(int ok, const char *what)
{
        if (!ok) {
                fprintf(stderr, "hostile-token: %s\n", what);
                abort();
        }
}

static CK_RV get_token_info(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
        CK_RV rv = real->C_GetTokenInfo(slot, info);
        if (is("locked"))
                info->flags |= CKF_USER_PIN_LOCKED;
        if (is("last-try"))
                info->flags |= CKF_USER_PIN_FINAL_TRY;
        if (is("keypad"))
                info->flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
        if (is("escape"))
                memcpy(info->label, "\033[2J", 4);
        return rv;
}

static CK_RV login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG len)
{
        static CK_UTF8CHAR typed[] = "123456";
        require(!is("locked"), "a locked PIN is tried");
        if (is("locks"))
                return CKR_PIN_LOCKED;
        if (!is("keypad"))
                return real->C_Login(session, user, pin, len);
        require(!pin, "a PIN in spite of the keypad");
        return real->C_Login(session, user, typed, sizeof(typed) - 1);
}

static CK_RV get_attribute(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE *a,
                           CK_ULONG n)
{
        CK_RV rv = real->C_GetAttributeValue(session, object, a, n);
        if (rv != CKR_OK || n != 1 || a->type != CKA_EC_POINT)
                return rv;
        if (is("off-curve"))
                ((unsigned char *)a->pValue)[a->ulValueLen - 1] ^= 1;
        if (is("other-point"))
                ((unsigned char *)a->pValue)[0] = 0x03;
        if (is("long-point"))
                a->ulValueLen = 4096;
        if (is("short-point"))
                a->ulValueLen = 2;
        return rv;
}

static CK_RV sign(CK_SESSION_HANDLE session, CK_BYTE *data, CK_ULONG len, CK_BYTE *signature,
                  CK_ULONG *signature_len)
{
        CK_RV rv = real->C_Sign(session, data, len, signature, signature_len);
        if (is("forged"))
                signature[40] ^= 1;
        if (is("short"))
                *signature_len = 32;
        return is("removed") ? CKR_DEVICE_REMOVED : rv;
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST **list)
{
        CK_C_GetFunctionList get = NULL;
        void *module = dlopen(getenv("HOSTILE_MODULE"), RTLD_NOW | RTLD_LOCAL);
        if (module)
                *(void **)&get = dlsym(module, "C_GetFunctionList");
        if (!get || get(&real) != CKR_OK)
                return CKR_GENERAL_ERROR;
        ours = *real;
        ours.C_GetFunctionList = C_GetFunctionList;
        ours.C_GetTokenInfo = get_token_info;
        ours.C_Login = login;
        ours.C_GetAttributeValue = get_attribute;
        ours.C_Sign = sign;
        *list = &ours;
        return CKR_OK;
}
