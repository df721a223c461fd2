# Sourced by bash, before pip or uv is called: of their settings, those count that say where packages come from, and how to get
# there. All others are cleared, such as PIP_USER, PIP_TARGET or UV_SYSTEM_PYTHON: what is installed, and where, is ours to say.
for name in "${!PIP_@}" "${!UV_@}"; do
    case $name in
        *INDEX* | *FIND_LINKS | *PROXY | *CERT* | *_HOST | *TLS* | *KEYRING* | *TIMEOUT | *RETRIES) ;;
        *CACHE* | *OFFLINE | *CONFIG_FILE | UV_CONCURRENT* | UV_LINK_MODE | UV_PYTHON*) ;;
        *) unset "$name" ;;
    esac
done
unset name VIRTUAL_ENV CONDA_PREFIX
export PIP_USER=0  # also where pip's configuration file says otherwise
