export const POST = async (request) => Response.json({ order: await request.json(), framework: 'next' }, { status: 201 });
