/* The `bluelm` command: answers questions about pictures, and shows what it takes. */
#include "commands.h"
#include "output.h"

/* In the order of the bits in options.h. */
static const app_command app_commands[] = {
    {"run", "answers one question", app_run, "-m"},
    {"chat", "talks, line by line", app_chat, "-m"},
    {"plan", "shows memory and tile grids, loading nothing", app_plan, "-m|--mmproj"},
    {"info", "shows what the files hold", app_info, "-m|--mmproj"},
    {"tokenize", "turns the text on standard input into ids", app_tokenize, "-m"},
    {"logits", "writes the logits after the last token", app_logits, "-m,--ids,-o"},
    {"embed", "writes the tokens of one picture, taken as it is", app_embed,
     "--mmproj,--image,-o"},
    {"render", "shows the prompt as the model sees it", app_render, "-m"},
};

int main(int argc, char **argv)
{
    app_options options;
    app_session session;
    int status;
    const app_command *command =
        app_options_parse(&options, app_commands, sizeof app_commands / sizeof *app_commands,
                          argc, argv, &status);
    if (command) {
        status = app_open_weights(&session, &options);
        if (!status) status = command->run(&session, &options);
        app_stop(&session);
    }
    return app_publish(status);
}
