/* The whole library in one source: compile this file, or include it in a program of your
 * own. Internals are static, every name begins bluelm_ or blm_. Defines it heeds, for what is
 * left out; calls that need it are BLUELM_E_UNSUPPORTED:
 *   BLUELM_NO_VISION        pictures, but for those that were encoded elsewhere
 *   BLUELM_NO_LANGUAGE      the language model: pictures are embedded, and that is all
 *   BLUELM_NO_CHAT          chat templates: completion alone
 *   BLUELM_NO_IMAGE_DECODE  PNG and JPEG: pictures come as RGB rows
 *   BLUELM_NO_SIMD          all kernels but the portable ones
 *   BLUELM_NO_ERROR_TEXT    the words of errors: their codes and numbers remain
 *   BLUELM_NO_TYPE_Q2_K     and the like: a tensor type */
#define BLM_UNITY 1

#if defined(BLUELM_NO_VISION) && defined(BLUELM_NO_LANGUAGE)
#error "BLUELM_NO_VISION and BLUELM_NO_LANGUAGE leave nothing"
#endif

#include "base/error.c"
#include "base/name.c"
#include "arena/arena.c"

#include "kernels/amx.c"
#include "kernels/avx2.c"
#include "kernels/avx2_attend.c"
#include "kernels/avx2_matmul.c"
#include "kernels/avx512.c"
#include "kernels/avx512_attend.c"
#include "kernels/avx512_attend_many.c"
#include "kernels/avx512_panel.c"
#include "kernels/avx512_token.c"
#include "kernels/cpu.c"
#include "kernels/kernels.c"
#include "kernels/neon.c"
#include "kernels/neon_attend.c"
#include "kernels/neon_matmul.c"
#include "kernels/scalar.c"
#include "kernels/sse41.c"
#include "kernels/wide.c"

#include "gguf/gguf.c"

#ifndef BLUELM_NO_VISION
#include "tiler/exif.c"
#include "tiler/filter.c"
#include "tiler/grid.c"
#include "tiler/uhd.c"
#include "tiler/image.c"
#include "tiler/inflate.c"
#include "tiler/jpeg.c"
#include "tiler/jpeg_entropy.c"
#include "tiler/jpeg_pixels.c"
#include "tiler/jpeg_segments.c"
#include "tiler/picture.c"
#include "tiler/png.c"
#include "tiler/resize.c"
#endif

#ifndef BLUELM_NO_LANGUAGE
#ifndef BLUELM_NO_CHAT
#include "text/chat.c"
#endif
#include "text/merge.c"
#include "text/pieces.c"
#include "text/presplit.c"
#include "text/sampler.c"
#include "text/stop.c"
#include "text/tokenizer.c"
#include "text/unicode.c"
#include "text/utf8.c"
#endif

#include "network/workers.c"
#include "network/linear.c"
#ifndef BLUELM_NO_LANGUAGE
#include "network/positions.c"
#include "network/kvcache.c"
#include "network/state.c"
#include "network/language.c"
#include "network/attention.c"
#include "network/recurrent.c"
#endif
#ifndef BLUELM_NO_VISION
#include "network/projector.c"
#include "network/resampler.c"
#include "network/vision.c"
#include "network/move.c"
#endif

#include "families/tensors.c"
#ifndef BLUELM_NO_LANGUAGE
#include "families/rope.c"
#include "families/language.c"
#ifndef BLUELM_NO_CHAT
#include "families/templates.c"
#endif
#endif
#ifndef BLUELM_NO_VISION
#include "families/projector.c"
#include "families/resampler.c"
#include "families/vision.c"
#include "families/tiling.c"
#ifndef BLUELM_NO_LANGUAGE
#include "families/markup.c"
#endif
#endif

#include "engine/config.c"
#include "engine/layout.c"
#ifndef BLUELM_NO_LANGUAGE
#include "engine/input.c"
#include "engine/layout_language.c"
#include "engine/conversation.c"
#ifndef BLUELM_NO_CHAT
#include "engine/turns.c"
#include "engine/template.c"
#else
#include "engine/no_chat.c"
#endif
#include "engine/rows.c"
#include "engine/rewind.c"
#include "engine/steps.c"
#include "engine/tokens.c"
#else
#include "engine/no_language.c"
#endif
#ifndef BLUELM_NO_VISION
#include "engine/layout_vision.c"
#include "engine/pictures.c"
#include "engine/encode.c"
#include "engine/release.c"
#ifndef BLUELM_NO_LANGUAGE
#include "engine/add_image.c"
#endif
#else
#include "engine/no_vision.c"
#endif
#include "engine/describe.c"
