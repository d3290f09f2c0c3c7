export const dynamic = 'force-dynamic';
export const GET = ({ nextUrl }) => Response.json({ url: nextUrl.pathname + nextUrl.search, framework: 'next' });
