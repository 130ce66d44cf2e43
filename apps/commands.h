/* What the command does: one function for each of its words. Each returns the exit status. */
#ifndef BLUELM_APP_COMMANDS_H
#define BLUELM_APP_COMMANDS_H

#include "session.h"

int app_run(app_session *s, const app_options *o);
int app_chat(app_session *s, const app_options *o);
int app_plan(app_session *s, const app_options *o);
int app_info(app_session *s, const app_options *o);
int app_tokenize(app_session *s, const app_options *o);
int app_logits(app_session *s, const app_options *o);
int app_render(app_session *s, const app_options *o);
int app_embed(app_session *s, const app_options *o);

#endif
