#!/bin/bash
# The floor of the benchmarks: what one writes by hand to get the app live, in one go, with nothing checked or kept.
# It installs the same packages, locked requirements and kind of services as deploy.yml. Runs as root on a bare VM; the tar
# on its standard input holds app/ (the source) and ca.pem (the CA of the ACME server).
set -euo pipefail
export DEBIAN_FRONTEND=noninteractive
workers=$((2 * $(nproc) + 1))

apt-get update -qq
apt-get install -qq --no-install-recommends \
    python3-venv ca-certificates nginx libnginx-mod-http-brotli-filter libnginx-mod-http-brotli-static ssl-cert logrotate certbot >/dev/null

useradd --system --home-dir /srv/hello --no-create-home hello
install -d -o hello -g hello /srv/hello/shared
tar -xzf - --no-same-owner -C /srv/hello

python3 -m venv /srv/hello/venv
/srv/hello/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r /srv/hello/app/requirements.txt

cat >/etc/systemd/system/hello.service <<UNIT
[Unit]
Description=hello
After=network.target

[Service]
Type=notify
User=hello
Group=www-data
UMask=0007
RuntimeDirectory=hello
WorkingDirectory=/srv/hello/app
Environment=PLAINSTACK_SHARED=/srv/hello/shared PLAINSTACK_RELEASE=floor
ExecStart=/srv/hello/venv/bin/gunicorn --worker-class gthread --workers $workers --threads 4 --preload \\
    --worker-tmp-dir /dev/shm --no-control-socket --bind unix:/run/hello/hello.sock wsgi:app
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
UNIT

cat >/etc/nginx/sites-available/hello <<'SITE'
upstream hello {
    server unix:/run/hello/hello.sock fail_timeout=0;
}
server {
    listen 80 default_server;
    root /var/www/html;
    location / { return 301 https://$host$request_uri; }
    location /.well-known/acme-challenge/ { }
}
server {
    listen 443 ssl default_server;
    http2 on;
    ssl_certificate /etc/ssl/certs/ssl-cert-snakeoil.pem;
    ssl_certificate_key /etc/ssl/private/ssl-cert-snakeoil.key;
    location / {
        proxy_pass http://hello;
        proxy_set_header Host $host;
        proxy_set_header X-Forwarded-For $remote_addr;
        proxy_set_header X-Forwarded-Proto $scheme;
    }
}
SITE
rm -f /etc/nginx/sites-enabled/default
ln -s ../sites-available/hello /etc/nginx/sites-enabled/hello
systemctl daemon-reload
systemctl enable --quiet --now hello.service
systemctl reload-or-restart nginx.service

# Up to here the placeholder answers; the rest is the certificate
REQUESTS_CA_BUNDLE=/srv/hello/ca.pem certbot certonly --quiet --non-interactive --agree-tos --register-unsafely-without-email \
    --webroot --webroot-path /var/www/html --server https://pebble:14000/dir --cert-name hello --domain floor.test
sed -i 's|/etc/ssl/certs/ssl-cert-snakeoil.pem|/etc/letsencrypt/live/hello/fullchain.pem|
        s|/etc/ssl/private/ssl-cert-snakeoil.key|/etc/letsencrypt/live/hello/privkey.pem|' /etc/nginx/sites-available/hello
systemctl reload nginx.service
