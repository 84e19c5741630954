/* loss_name.c - the losses by the names that users give them. */
#include <string.h>
#include "base/err.h"
#include "base/mem.h"
#include "gram/train.h"

static const char *const name[] = {
    [GRAM_LOSS_GRAM] = "gram", [GRAM_LOSS_GENERATIVE] = "generative", [GRAM_LOSS_BT] = "bt",
    [GRAM_LOSS_BT_MARGIN] = "bt-margin", [GRAM_LOSS_BT_SMOOTH] = "bt-smooth", [GRAM_LOSS_BT_POSREG] = "bt-posreg",
    [GRAM_LOSS_SFT_REG] = "sft-reg", [GRAM_LOSS_PURM] = "purm", [GRAM_LOSS_DPO] = "dpo", [GRAM_LOSS_CDPO] = "cdpo",
    [GRAM_LOSS_IPO] = "ipo", [GRAM_LOSS_SIMPO] = "simpo", [GRAM_LOSS_ORPO] = "orpo", [GRAM_LOSS_KTO] = "kto",
    [GRAM_LOSS_RATIONALE] = "rationale", [GRAM_LOSS_PROOF] = "proof",
};

gram_status gram_loss_parse(const char *text, gram_loss *out, gram_err *err)
{
    for (size_t i = 0; i < GR_COUNT(name); i++)
        if (!strcmp(text, name[i])) {
            *out = (gram_loss)i;
            return GRAM_OK;
        }
    return gr_fail(err, GRAM_EARG, "loss \"%s\": wanted one of gram, generative, bt, bt-margin, bt-smooth, bt-posreg, "
                   "sft-reg, purm, rationale, proof, dpo, cdpo, ipo, simpo, orpo and kto", text);
}

const char *gram_loss_name(gram_loss loss)
{
    return (size_t)loss < GR_COUNT(name) ? name[loss] : "unknown";
}

bool gram_loss_is_scalar(gram_loss loss)
{
    return loss >= GRAM_LOSS_BT && loss <= GRAM_LOSS_PURM;
}

bool gram_loss_writes(gram_loss loss)
{
    return loss == GRAM_LOSS_RATIONALE || loss == GRAM_LOSS_PROOF;
}

bool gram_loss_is_policy(gram_loss loss)
{
    return loss >= GRAM_LOSS_DPO && loss <= GRAM_LOSS_KTO;
}
